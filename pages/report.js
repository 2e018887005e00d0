(() => {
for (const table of all("table.sortable")) {
  const body = table.tBodies[0];
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const number = text => Number.parseFloat(text.replaceAll(",", "").replace("\u2212", "-"));
  for (const button of all("thead button", table)) {
    const heading = button.closest("th");
    const column = heading.cellIndex;
    button.addEventListener("click", () => {
      const numeric = heading.classList.contains("number");
      const first = numeric ? "descending" : "ascending";
      const second = numeric ? "ascending" : "descending";
      const way = heading.getAttribute("aria-sort") === first ? second : first;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", way);
      const sign = way === "ascending" ? 1 : -1;
      const rows = [...body.rows].map(row => [row, numeric ? number(key(row, column)) : key(row, column)]);
      rows.sort(([, a], [, b]) => {
        if (!numeric) return sign * a.localeCompare(b);
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return sign * (a - b);
      });
      body.append(...rows.map(([row]) => row));
    });
  }
}

if (!document.getElementById("gallery")) return;
const FOUND = "0";
const choices = Object.fromEntries(["kind", "who", "order"].map(id => [id, document.getElementById(id)]));
const view = viewer({ arrange });
for (const shot of view.shots) {
  const { bad, kinds } = shot.element.dataset;
  shot.bad = bad.split(" ").map(Number);
  shot.errors = kinds.split("|").map(of => of.split(" ").filter(kind => kind && kind !== FOUND));
}

function arrange() {
  const on = view.boxes.filter(box => box.checked && box.dataset.b !== "t").map(box => Number(box.dataset.b));
  const who = choices.who.value;
  const subjects = who === "any" || who === "every" ? on : [Number(who)];
  const kind = choices.kind.value;
  const has = shot => config => {
    const errors = shot.errors[config];
    return kind === "error" ? errors.length > 0 : kind === "right" ? !errors.length : errors.includes(kind);
  };
  const matches = shot => kind === "all"
    || (who === "every" ? subjects.length > 0 && subjects.every(has(shot)) : subjects.some(has(shot)));
  const badness = shot => subjects.reduce((sum, config) => sum + shot.bad[config], 0) / (subjects.length || 1);
  const apart = shot => on.length ? Math.max(...on.map(b => shot.bad[b])) - Math.min(...on.map(b => shot.bad[b])) : 0;
  view.arrange(matches, {
    worst: shot => -badness(shot), best: badness, apart: shot => -apart(shot), listed: () => 0,
  }[choices.order.value]);
}

for (const choice of Object.values(choices)) choice.addEventListener("change", arrange);
arrange();
})();
