"use strict";
document.documentElement.classList.add("js");
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/* A grid of pictures with boxes over them, and a window that enlarges one and steps through those that are shown.
   on.arrange: called when boxes were switched; on.show(element, window's parts): after a picture came into the window;
   on.key(event): true where it took a key that was pressed in the window. */
function viewer(on) {
  const [gallery, grid, dialog, stage, about, place, count, toggles, back, next] =
    ["gallery", "shots", "large", "stage", "about", "place", "count", "toggles", "back", "on"]
      .map(id => document.getElementById(id));
  const boxes = all("input", toggles);
  const home = toggles.parentElement;
  const shots = all(".shot", grid).map((element, index) => ({ element, index }));
  let visible = shots;
  let at = 0;

  function arrange(matches, rank) {
    visible = shots.filter(matches).map(shot => [rank(shot), shot]).sort(([a, one], [b, other]) =>
      a - b || one.index - other.index).map(([, shot]) => shot);
    const kept = new Set(visible);
    const ordered = document.createDocumentFragment();
    for (const shot of shots) shot.element.hidden = !kept.has(shot);
    for (const shot of visible) ordered.append(shot.element);
    for (const shot of shots) if (!kept.has(shot)) ordered.append(shot.element);
    grid.append(ordered);
    count.textContent = visible.length
      ? `${visible.length.toLocaleString("en")} of ${shots.length.toLocaleString("en")} images`
      : "No image is like that.";
  }

  function show(index) {
    at = Math.min(Math.max(index, 0), visible.length - 1);
    const { element } = visible[at];
    stage.replaceChildren(...all(".open > *", element).map(part => part.cloneNode(true)));
    about.replaceChildren(...[...element.querySelector("figcaption").children].map(part => part.cloneNode(true)));
    place.textContent = `${at + 1} of ${visible.length}`;
    back.disabled = at === 0;
    next.disabled = at === visible.length - 1;
    on.show?.(visible[at], stage, about);
  }

  function enlarge(index) {
    document.getElementById("switches").append(toggles);
    show(index);
    dialog.showModal();
  }

  dialog.addEventListener("close", () => {
    const { element } = visible[at];
    home.prepend(toggles);
    on.arrange();
    if (!element.hidden) element.querySelector(".open").focus();
  });
  toggles.addEventListener("change", event => {
    const box = event.target;
    gallery.classList.toggle(`off-${box.dataset.b}`, !box.checked);
    if (!dialog.open) on.arrange();
  });
  grid.addEventListener("click", event => {
    const button = event.target.closest(".open");
    if (button) enlarge(visible.findIndex(shot => shot.element.contains(button)));
  });
  back.addEventListener("click", () => show(at - 1));
  next.addEventListener("click", () => show(at + 1));
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });

  document.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("select, input:not([type=checkbox])")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (dialog.open) {
      if (step) show(at + step);
      else if (event.key === "Home") show(0);
      else if (event.key === "End") show(visible.length - 1);
      else if (!on.key?.(event)) {
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
    const other = move && visible[here + move];
    if (!other) return;
    other.element.querySelector(".open").focus();
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

  return { shots, boxes, arrange, step: by => show(at + by), current: () => visible[at], open: () => dialog.open };
}
