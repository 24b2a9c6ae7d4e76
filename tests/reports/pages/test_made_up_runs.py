import json

import pytest
from made_up_runs import make_up_runs
from mltbench.reports.results.runs import per_class_frame, runs_frame
from mltbench.reports.tables.build import build_table

LEFT_OUT = "No method was run without overrides; rows without any run are left out."


def test_made_up_runs_are_read_as_real_ones(store, dataset, monkeypatch):
    monkeypatch.setattr("made_up_runs.SEEDS", 1)
    monkeypatch.setattr("made_up_runs.SETTINGS", (("recipe.batch_size=8",),))
    make_up_runs(store, dataset, number=16)
    runs = runs_frame(store)
    assert (len(runs), set(runs.state)) == (16, {"finished"})
    assert len(set(runs.experiment_id)) == 16
    assert sorted(runs.seed.value_counts().to_dict().items()) == [(0, 14), (1, 2)]
    per_class = per_class_frame(store, runs)
    means = per_class[per_class.split == "test"].groupby("experiment_id").ap.mean()
    assert means.loc[list(runs.experiment_id)].tolist() == pytest.approx(runs.total.tolist())
    assert build_table(runs, 1, "tiny", recipe="digits", per_class=per_class).notes == (LEFT_OUT,)
    assert json.loads(runs.settings.iloc[0])["recipe.batch_size"] == "8"
