"use strict";
(() => {
  const body = document.querySelector("tbody");
  const heads = [...document.querySelectorAll("thead th")];
  const rows = [...body.rows]; // as written: the worst first
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const natural = new Intl.Collator("en", { numeric: true }).compare;
  const rank = ["failed", "unreachable", "not-proven", "skipped", "proven"];
  const marks = "funp"; // fail, unknown, not checked, pass
  const make = (name, parent) => parent.appendChild(document.createElement(name));

  // What a cell is sorted by; null, which is last in either direction, for an empty one.
  const value = {
    text: (cell) => cell.textContent || null,
    number: (cell) => (cell.textContent ? Number(cell.dataset.v || cell.textContent) : null),
    state: (cell) => rank.indexOf(cell.parentNode.classList[0]),
    verdict: (cell) => marks.indexOf(cell.className),
  };

  function sort(column, descending) {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    let order = rows;
    if (column >= 0) {
      const head = heads[column];
      const read = value[head.className];
      const keys = new Map(rows.map((row) => [row, read(row.cells[column])]));
      const sign = descending ? -1 : 1;
      const compare = (a, b) => sign * (typeof a === "string" ? natural(a, b) : a - b);
      order = [...rows].sort((one, other) => {
        const a = keys.get(one);
        const b = keys.get(other);
        return a === null || b === null ? (a === null) - (b === null) : compare(a, b);
      });
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    }
    body.append(...order);
    choice.value = column;
  }

  function toggle(column) {
    const now = heads[column].getAttribute("aria-sort");
    // Of numbers the largest come first: the longest queue, the oldest message.
    const first = heads[column].className === "number" ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    sort(column, (now === first ? second : first) === "descending");
  }

  const tools = document.createElement("div");
  tools.id = "tools";
  const field = make("input", tools);
  field.type = "search";
  field.placeholder = "Filter: a host, a promise, a word";
  field.setAttribute("aria-label", "Filter the hosts");
  field.autocomplete = "off";
  const label = make("label", tools);
  label.append("Sort by ");
  const choice = make("select", label);
  ["Worst first", ...heads.map((head) => head.textContent)].forEach((name, at) => {
    choice.add(new Option(name, at - 1));
  });
  choice.addEventListener("change", () => {
    if (choice.value < 0) sort(-1);
    else toggle(Number(choice.value));
  });
  const count = make("output", tools);
  document.querySelector("header").append(tools);

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => toggle(column));
  });

  let only = "";
  const buttons = [...document.querySelectorAll("[data-only]")].map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    item.append(button);
    button.addEventListener("click", () => {
      only = only === item.dataset.only ? "" : item.dataset.only;
      filter();
    });
    return [button, item.dataset.only];
  });

  function filter() {
    const words = field.value.toLowerCase().split(/\s+/);
    let left = 0;
    rows.forEach((row, at) => {
      const fits = (!only || row.classList.contains(only)) && words.every((word) => texts[at].includes(word));
      row.hidden = !fits;
      left += fits;
    });
    buttons.forEach(([button, name]) => button.setAttribute("aria-pressed", String(name !== "" && name === only)));
    count.textContent = left < rows.length ? `${left} of ${rows.length} shown` : "";
  }
  field.addEventListener("input", filter);
  filter();

  // On paper nothing can be opened.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((each) => { each.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
})();
