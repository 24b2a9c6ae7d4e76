"""Submissions: what is taken, what is refused and why, and what the site shows of it."""

import json
import re

import numpy as np
import pytest
from mltbench.datasets.registry import load_dataset
from mltbench.reports.figures.style import LONGEST_NAME
from mltbench.reports.leaderboard.site import build_site
from mltbench.reports.results.runs import load_runs
from sklearn.metrics import average_precision_score
from submissions import KNOWN, SIZES, submission
from web_pages import ParsedPage, assert_accessible_and_no_wider_than_the_screen

OWN = '=cmd|"/C calc"!A0 <img src=x onerror=alert(1)>'
SCRIPT = "<script>alert(1)</script>"


def fill(folder):
    """Write nine submissions: five good, one twice, a wrong digest, totals that do not add up, a hostile one."""
    theirs = submission("theirs", 40, method="Theirs", dataset="mine", dataset_digest="1" * 64)
    theirs["protocol"]["recipe"] = "photos"
    for sizes in (theirs["training_images"], *(run["ap"] for run in theirs["runs"])):
        sizes[SCRIPT] = sizes.pop("red 0")
    wrong_total = submission("wrong-total", 60)
    wrong_total["runs"][1]["total"] = 99.5
    hostile = submission("hostile", 99, method='=HYPERLINK("http://x","y")', code="javascript:alert(1)")
    hostile["id"] = "../../hostile"
    hostile["training_images"][SCRIPT] = 5
    files = {
        "db": submission("db", 80),
        "second": submission("db", 85),
        "rs": submission("rs", 70),
        "erm": submission("erm", 60, seeds=1, pretraining="none"),
        "own": submission("own", 50, method=OWN, backbone="resnet-50"),
        "theirs": theirs,
        "digest": submission("digest", 90, dataset_digest="0" * 64),
        "total": wrong_total,
        "hostile": hostile,
        "datasets": {"mine": {"digests": ["1" * 64]}},
    }
    folder.mkdir()
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    root = tmp_path_factory.mktemp("board")
    build_site(fill(root / "in"), root / "site")
    return root / "site"


def test_the_broken_and_the_hostile_are_left_out_with_reasons(site):
    index = json.loads((site / "index.json").read_text())
    # Another backbone, dataset or pre-training is ranked apart.
    ranks = {"db": "1", "rs": "2", "erm": "1", "own": "1", "theirs": "1"}
    assert {row["id"]: row["rank"] for row in index["submissions"]} == ranks
    reasons = {item["file"]: "\n".join(item["faults"]) for item in index["rejected"]}
    assert set(reasons) == {"second.json", "digest.json", "total.json", "hostile.json"}
    assert "another submission has it" in reasons["second.json"]
    assert re.search(r"dataset_digest = '0000.*results on digits-mlt count for ced2c8d379dd", reasons["digest.json"])
    assert re.search(r"runs\[1\]\.total = 99\.5: the mean of ap over all classes is \d\d\.\d\d", reasons["total.json"])
    assert re.search(r"id = '\.\./\.\./hostile': must match", reasons["hostile.json"])
    assert re.search(r"code = 'javascript:alert\(1\)': must match", reasons["hostile.json"])
    shown = ParsedPage((site / "index.html").read_text()).shown
    assert all(item in shown for item in reasons)
    assert {path.name for path in site.parent.iterdir()} == {"in", "site"}
    assert len(list((site.parent / "in").iterdir())) == 10


def test_every_text_stays_text_and_every_link_leads_into_the_site(site):
    for path in (*site.rglob("*.html"), *site.rglob("*.svg")):
        page = ParsedPage(path.read_text())
        scripts = [(path.parent / item["src"]).resolve() for item in page.all("script")]
        assert scripts == [site / "page.js"] * (path.suffix == ".html")
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
        links = [link["href"] for link in page.all("a")]
        assert all(not link.lower().startswith(("javascript", "data", "//")) for link in links)
        local = [link for link in links if not link.startswith(("http", "#"))]
        assert all((path.parent / link).resolve().is_file() for link in local)
        assert all((path.parent / image["src"]).is_file() and image["alt"] for image in page.all("img"))
    for name, text in (
        ("index.html", OWN),
        ("methods/own.groups.svg", OWN[: LONGEST_NAME // 2]),
        ("methods/theirs.html", SCRIPT),
    ):
        assert text in ParsedPage((site / name).read_text()).shown
    for path in site.rglob("*.csv"):
        assert not re.search(r"[\n,]=", path.read_text())


def test_known_digests_are_those_of_the_datasets(data_root):
    dataset = load_dataset("digits-mlt", data_root=data_root)
    assert dataset.digest in KNOWN["digits-mlt"]["digests"]
    assert dict(zip(dataset.classes, dataset.statistics.counts.tolist(), strict=True)) == SIZES


def test_scores_are_scored_again(call, own_folder, data_root, tmp_path):
    dataset = load_dataset("digits-mlt", data_root=data_root)
    test = dataset.split("test")
    scores = (test.labels + np.random.default_rng(0).normal(0, 0.8, test.labels.shape)).astype(np.float32)
    np.savez("scores.npz", scores=scores, ids=test.ids, classes=np.array(dataset.classes))
    ap = [100 * average_precision_score(test.labels[:, i], scores[:, i]) for i in range(len(SIZES))]
    status, output, _ = call("leaderboard", "check", "scores.npz")
    assert (status, f"total {np.mean(ap):.2f}" in output) == (0, True)
    data = submission("good", 60, seeds=1)
    data["runs"][0] = {"seed": 0, "ap": dict(zip(dataset.classes, ap, strict=True)), "total": float(np.mean(ap))}
    (tmp_path / "good.json").write_text(json.dumps(data))
    assert call("leaderboard", "check", "good.json", "--scores", "0=scores.npz")[0] == 0
    data["runs"][0]["ap"]["red 0"] += 1
    data["runs"][0]["total"] += 1 / len(SIZES)
    (tmp_path / "good.json").write_text(json.dumps(data))
    assert call("leaderboard", "check", "good.json")[0] == 0
    status, output, _ = call("leaderboard", "check", "good.json", "--scores", "0=scores.npz")
    assert status == 1
    assert re.search(r"runs\[0\]\.ap\['red 0'\] = .*: the scores of seed 0 give", output)


def test_scores_of_any_floating_type_are_ranked_as_they_are(call, own_folder, data_root):
    dataset = load_dataset("digits-mlt", data_root=data_root)
    test = dataset.split("test")
    logits = 2 * test.labels + np.random.default_rng(0).normal(20, 1, test.labels.shape)
    with np.errstate(over="ignore"):
        # Probabilities that float32 would tie at 1, and numbers that it does not have.
        forms = {"probabilities": 1 / (1 + np.exp(-logits)), "large": np.exp(20 * logits)}
        forms["overflown"] = forms["large"].astype(np.float32)
    for name, scores in forms.items():
        np.savez(f"{name}.npz", scores=scores, ids=test.ids, classes=np.array(dataset.classes))
        status, output, error = call("leaderboard", "check", f"{name}.npz")
        if name == "overflown":
            assert (status, "is inf" in error, "give finite scores, in float64" in error) == (2, True, True)
        else:
            ap = [100 * average_precision_score(test.labels[:, i], scores[:, i]) for i in range(len(SIZES))]
            assert (status, f"total {np.mean(ap):.2f}" in output) == (0, True)


def test_submissions_are_made_from_runs_and_hold_their_scores(trained, call, tmp_path):
    words = ["--dataset", "tiny", "--author", "A. Name", "--code", "https://example.org/code", "--out", trained.root]
    runs = {f"{run.title} ({run.overrides})": run for run in load_runs(trained.root).itertuples()}
    for run in runs.values():
        chosen = ["--method", run.method, "--overrides", run.overrides, *words]
        status, shown, error = call("leaderboard", "submit", *chosen, "--to", tmp_path / "mine")
        assert (status, "seeds 0" in shown) == (0, True), error
        assert call("leaderboard", "submit", *chosen, "--to", tmp_path / "one.json")[0] == 0
    written = {path.name: json.loads(path.read_text()) for path in (tmp_path / "mine").iterdir()}
    assert {data["method"] for data in written.values()} == set(runs)
    for name, data in written.items():
        run, (submitted,) = runs[data["method"]], data["runs"]
        assert name == f"{data['id']}.json"
        assert submitted["experiment_id"] == run.experiment_id
        assert submitted["total"] == pytest.approx(run.total, abs=1e-4)
    assert json.loads((tmp_path / "one.json").read_text()) in written.values()
    status, _, error = call("leaderboard", "submit", "--method", "rss", *words)
    assert (status, "did you mean 'rs'" in error) == (2, True)


# In a browser: what the board adds to the tables of a report, whose tests sort by mouse and by keyboard.


@pytest.fixture
def page(open_page, site):
    return open_page((site / "index.html").as_uri())


def methods(page):
    return page.locator("#board tbody tr:visible th").all_inner_texts()


def test_submissions_are_ordered_by_their_means_and_sorted_by_a_click(page):
    assert methods(page) == ["DB", "RS", "ERM", OWN, "Theirs"]
    for texts in (["DB", "RS", "ERM", OWN, "Theirs"], ["Theirs", OWN, "ERM", "RS", "DB"]):
        page.get_by_role("button", name="total").click()
        assert methods(page) == texts


def test_rows_are_filtered(page):
    for field, choice, left in (
        ("dataset", "mine", ["Theirs"]),
        ("backbone", "resnet-50", [OWN]),
        ("pre-training", "none", ["ERM"]),
        ("protocol", "digits", ["DB", "RS", "ERM", OWN]),
    ):
        page.get_by_label(field).select_option(choice)
        assert methods(page) == left
        assert page.get_by_role("status").inner_text() == f"{len(left)} of 5 rows"
        page.get_by_label(field).select_option("all")
    # By the names of methods, and not by their ranks.
    for typed, number in (("calc", 1), ("2", 0), ("", 5)):
        page.get_by_label("Find a method").fill(typed)
        assert len(methods(page)) == number


def test_classes_of_a_method_are_sorted_and_filtered_too(open_page, site):
    page = open_page((site / "methods" / "db.html").as_uri())
    page.get_by_label("group").select_option("tail")
    page.get_by_role("button", name="training images").click()
    sizes = [int(text) for text in page.locator("table.sortable tbody tr:visible td:nth-child(3)").all_inner_texts()]
    assert sizes == sorted((size for size in SIZES.values() if size < 20), reverse=True)


def test_a_board_without_any_good_submission_is_still_a_page(open_page, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps(submission("bad", 60, dataset_digest="0" * 64)))
    build_site(tmp_path, tmp_path / "site")
    page = open_page((tmp_path / "site" / "index.html").as_uri())
    assert page.get_by_text("No submission passed its check.").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["index.html", "rules.html", "methods/own.html"])
def test_pages_are_accessible_and_fit_the_screen(open_page, site, name, width, scheme):
    assert_accessible_and_no_wider_than_the_screen(open_page((site / name).as_uri(), width=width, scheme=scheme))
