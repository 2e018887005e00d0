(() => {
"use strict";
const page = document.documentElement;
page.classList.add("js");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

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

const gallery = document.getElementById("gallery");
if (!gallery) return;
const [grid, dialog, stage, about, place, count, toggles] =
  ["shots", "large", "stage", "about", "place", "count", "toggles"].map(id => document.getElementById(id));
const choices = Object.fromEntries(["kind", "who", "order"].map(id => [id, document.getElementById(id)]));
const boxes = all("input", toggles);
const home = toggles.parentElement;
const FOUND = "0";
const shots = all(".shot", grid).map((element, index) => ({
  element, index,
  bad: element.dataset.bad.split(" ").map(Number),
  errors: element.dataset.kinds.split("|").map(kinds => kinds.split(" ").filter(kind => kind && kind !== FOUND)),
}));
let visible = shots;
let at = 0;

const shown = () => boxes.filter(box => box.checked && box.dataset.b !== "t").map(box => Number(box.dataset.b));

function arrange() {
  const on = shown();
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
  const rank = {
    worst: shot => -badness(shot), best: badness, apart: shot => -apart(shot), listed: () => 0,
  }[choices.order.value];
  visible = shots.filter(matches).sort((a, b) => rank(a) - rank(b) || a.index - b.index);
  const kept = new Set(visible);
  for (const shot of shots) shot.element.hidden = !kept.has(shot);
  grid.append(...visible.map(shot => shot.element), ...shots.filter(s => !kept.has(s)).map(s => s.element));
  count.textContent = visible.length ? `${visible.length} of ${shots.length} images` : "No image is like that.";
}

function show(index) {
  at = Math.min(Math.max(index, 0), visible.length - 1);
  const { element } = visible[at];
  stage.replaceChildren(...all(".open > *", element).map(part => part.cloneNode(true)));
  about.replaceChildren(...[...element.querySelector("figcaption").children].map(part => part.cloneNode(true)));
  place.textContent = `${at + 1} of ${visible.length}`;
  document.getElementById("back").disabled = at === 0;
  document.getElementById("on").disabled = at === visible.length - 1;
}

function enlarge(index) {
  show(index);
  document.getElementById("switches").append(toggles);
  dialog.showModal();
}

dialog.addEventListener("close", () => {
  const { element } = visible[at];
  home.prepend(toggles);
  arrange();
  if (!element.hidden) element.querySelector(".open").focus();
});
toggles.addEventListener("change", event => {
  const box = event.target;
  gallery.classList.toggle(`off-${box.dataset.b}`, !box.checked);
  if (!dialog.open) arrange();
});
for (const choice of Object.values(choices)) choice.addEventListener("change", arrange);
grid.addEventListener("click", event => {
  const button = event.target.closest(".open");
  if (button) enlarge(visible.findIndex(shot => shot.element.contains(button)));
});
document.getElementById("back").addEventListener("click", () => show(at - 1));
document.getElementById("on").addEventListener("click", () => show(at + 1));
document.getElementById("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });

document.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select")) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (dialog.open) {
    if (step) show(at + step);
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(visible.length - 1);
    else {
      const box = boxes.find(b => b.dataset.b === (event.key === "t" ? "t" : String(event.key - 1)));
      if (!box) return;
      box.click();
    }
    event.preventDefault();
    return;
  }
  const here = visible.findIndex(shot => shot.element.contains(document.activeElement));
  if (here < 0) return;
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const move = step || { ArrowUp: -columns, ArrowDown: columns }[event.key];
  const next = move && visible[here + move];
  if (!next) return;
  next.element.querySelector(".open").focus();
  event.preventDefault();
});

let from = null;
stage.addEventListener("touchstart", event => {
  from = event.touches.length === 1 ? event.touches[0].clientX : null;
}, { passive: true });
stage.addEventListener("touchend", event => {
  const moved = from === null ? 0 : event.changedTouches[0].clientX - from;
  if (Math.abs(moved) > 50) show(at + (moved < 0 ? 1 : -1));
  from = null;
}, { passive: true });

arrange();
})();
