"""What the page can do by itself: sort tables, choose a theme, show masked texts, unfold all for print."""

SCRIPT = """
"use strict";
(() => {
  const root = document.documentElement;
  const remember = (value) => { try { localStorage.setItem("sftlib-theme", value); } catch { /* a file without storage */ } };
  try { const kept = localStorage.getItem("sftlib-theme"); if (kept) root.dataset.theme = kept; } catch { /* as above */ }
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember(root.dataset.theme);
  });

  const valueOf = (cell) => {
    const marked = cell.querySelector("[data-value]");
    const text = marked ? marked.dataset.value : cell.textContent.trim();
    if (text === "null" || text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text.toLowerCase() : number;
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, {numeric: true});
  };
  for (const button of document.querySelectorAll("table.sortable th > button")) {
    button.addEventListener("click", () => {
      const head = button.parentElement, body = head.closest("table").tBodies[0], place = head.cellIndex;
      const rising = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentElement.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [valueOf(row.cells[place]), row]);
      rows.sort((a, b) => a[0] === null || b[0] === null ? compare(a[0], b[0]) : (rising ? 1 : -1) * compare(a[0], b[0]));
      body.append(...rows.map((entry) => entry[1]));
    });
  }

  const show = (event) => {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    const text = event.target.closest(".masked");
    if (!text) return;
    event.preventDefault();
    text.classList.toggle("shown");
  };
  addEventListener("click", show);
  addEventListener("keydown", show);
  addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
})();
"""
