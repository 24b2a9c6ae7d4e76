"use strict";
const board = document.getElementById("board"), body = board.tBodies[0];
const heads = [...board.tHead.rows[0].cells], rows = [...body.rows].filter((row) => row.dataset.dataset !== undefined);
const filters = document.getElementById("filters"), shown = document.getElementById("shown");

function value(row, column) {
  const cell = row.cells[column];
  return cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
}

function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const numbers = Number(a) - Number(b);
  return sign * (Number.isNaN(numbers) ? a.localeCompare(b, "en", { numeric: true }) : numbers);
}

heads.forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const before = head.getAttribute("aria-sort");
    const first = head.classList.contains("number") ? "descending" : "ascending";
    const other = first === "descending" ? "ascending" : "descending";
    const order = before === first ? other : first;
    heads.forEach((one) => one.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => compare(value(a, column), value(b, column), sign));
    body.append(...rows);
  });
});

function filter() {
  const wanted = [...new FormData(filters)].filter(([, choice]) => choice !== "");
  rows.forEach((row) => { row.hidden = !wanted.every(([key, choice]) => row.dataset[key] === choice); });
  shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} submissions`;
}
filters.addEventListener("change", filter);
filters.addEventListener("reset", () => setTimeout(filter));
filters.addEventListener("submit", (event) => event.preventDefault());
filter();
