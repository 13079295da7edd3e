(() => {
  "use strict";
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  // The same item lights up everywhere on its card.
  for (const card of all(".card")) {
    const lines = all("[data-item]", card);
    const mark = (key) => { for (const line of lines) line.classList.toggle("same", key !== null && line.dataset.item === key); };
    card.addEventListener("pointerover", (event) => {
      const line = event.target.closest("[data-item]");
      const twice = line && lines.filter((other) => other.dataset.item === line.dataset.item).length > 1;
      mark(twice ? line.dataset.item : null);
    });
    card.addEventListener("pointerleave", () => mark(null));
  }

  // The table: three selects, a text filter, and columns that sort.
  const table = document.querySelector(".all");
  if (table) {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    const inputs = all(".filters [data-key]");
    const text = document.querySelector(".filters input");
    const shown = document.querySelector(".filters output");
    const filter = () => {
      const needle = text.value.trim().toLowerCase();
      let number = 0;
      for (const row of rows) {
        const fits = inputs.every((input) => !input.value || row.dataset[input.dataset.key] === input.value)
          && (!needle || row.textContent.toLowerCase().includes(needle));
        row.hidden = !fits;
        number += fits;
      }
      shown.textContent = `${number} of ${rows.length} lines`;
    };
    for (const input of [...inputs, text]) input.addEventListener("input", filter);
    filter();
    const headers = all("th", table);
    headers.forEach((header, column) => header.querySelector("button").addEventListener("click", () => {
      const down = header.getAttribute("aria-sort") !== "descending";
      for (const other of headers) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.sort ?? "";
      const numeric = header.classList.contains("num");
      const compare = (a, b) => numeric
        ? (a === "" ? -Infinity : Number(a)) - (b === "" ? -Infinity : Number(b))
        : a.localeCompare(b, "en", { numeric: true });
      rows.sort((a, b) => compare(key(a), key(b)) * (down ? -1 : 1));
      body.append(...rows);
    }));
  }
})();
