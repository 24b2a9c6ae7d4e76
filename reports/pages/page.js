// Shared by the report and the leaderboard: columns that sort, rows that filter. Without it the pages read the same.
"use strict";
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent.trim();
  };

  // Numbers by size, the largest first; texts by alphabet; what is missing stays at the end either way.
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row, place) => ({ row, place, text: value(row, column) }));
    const numeric = rows.every(({ text }) => text === "" || text === "–" || !Number.isNaN(Number(text)));
    const missing = ({ text }) => text === "" || text === "–";
    const order = (a, b) => numeric ? Number(a.text) - Number(b.text) : a.text.localeCompare(b.text, "en", { numeric: true });
    const sign = direction === "ascending" ? 1 : -1;
    rows.sort((a, b) => missing(a) - missing(b) || (missing(a) ? 0 : sign * order(a, b)) || a.place - b.place);
    body.append(...rows.map(({ row }) => row));
    for (const head of table.tHead.rows[0].cells) head.removeAttribute("aria-sort");
    table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
  };

  const makeSortable = (table) => {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      if (head.dataset.sort === "none") return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const first = head.dataset.sort ?? (head.classList.contains("text") || column === 0 ? "ascending" : "descending");
        const other = first === "ascending" ? "descending" : "ascending";
        sort(table, column, head.getAttribute("aria-sort") === first ? other : first);
      });
    });
  };

  // A search field over the rows' heads, and one choice per column whose head has data-filter.
  const makeFilters = (table) => {
    const heads = [...table.tHead.rows[0].cells];
    const box = document.createElement("div");
    box.className = "filters";
    const label = (text, field) => {
      const element = document.createElement("label");
      element.append(text, field);
      box.append(element);
    };
    const search = document.createElement("input");
    search.type = "search";
    label(table.dataset.filter, search);
    const choices = heads.flatMap((head, column) => {
      if (!("filter" in head.dataset)) return [];
      const select = document.createElement("select");
      const names = [...new Set([...table.tBodies[0].rows].map((row) => value(row, column)))].sort();
      select.append(new Option("all", ""), ...names.map((name) => new Option(name, name)));
      label(head.textContent.trim(), select);
      return [{ select, column }];
    });
    const count = document.createElement("output");
    box.append(count);
    const apply = () => {
      const wanted = search.value.trim().toLowerCase();
      const rows = [...table.tBodies[0].rows];
      for (const row of rows) {
        const named = row.querySelector("th").textContent.toLowerCase().includes(wanted);
        row.hidden = !named || choices.some(({ select, column }) => select.value && value(row, column) !== select.value);
      }
      const shown = rows.filter((row) => !row.hidden).length;
      count.value = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    };
    box.addEventListener("input", apply);
    apply();
    (table.closest(".scroll") ?? table).before(box);
  };

  for (const table of document.querySelectorAll("table[data-filter]")) makeFilters(table);
  for (const table of document.querySelectorAll("table.sortable")) makeSortable(table);

  // A link to an experiment opens what it is folded in.
  const reveal = () => {
    let element = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = element && element.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (element) element.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
