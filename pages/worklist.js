(() => {
const byId = id => document.getElementById(id);
const [gallery, stage, tally, kept, shades, goOn] = ["gallery", "stage", "tally", "kept", "shades", "go-on"].map(byId);
const choices = ["kind", "marked", "find", "order"].map(byId);
const [kind, marked, find, order] = choices;
const buttons = all("#marks button");
const { images, named } = gallery.dataset;
const STORE = `hilum marks of ${images}`;
// What a reader says of an image is kept as the truth, so that it holds for another detector's worklist too.
const MARKS = { agree: shot => shot.boxes > 0 ? "1" : "0", no: shot => shot.boxes > 0 ? "0" : "1", unsure: () => "?" };
const WORDS = {
  agree: shot => shot.boxes > 0 ? "Agree: opacity" : "Agree: no opacity",
  no: shot => shot.boxes > 0 ? "No: no opacity" : "No: opacity missed",
  unsure: () => "Unsure",
};
let truths = {};
let stores = true;

const view = viewer({ arrange, show, key });
for (const shot of view.shots) {
  const { n, p, b, w } = shot.element.dataset;
  Object.assign(shot, { number: n, probability: p ? Number(p) : NaN, boxes: Number(b), warned: w === "1" });
  shot.id = shot.element.querySelector(".id").textContent.toLowerCase();
}
const read = view.shots.filter(shot => !Number.isNaN(shot.probability));
const markOf = shot => Object.keys(MARKS).find(mark => truths[shot.number] === MARKS[mark](shot)) ?? "";

function label(shot) {
  const mark = markOf(shot);
  shot.element.dataset.mark = mark;
  shot.element.querySelector(".mark").textContent = mark ? WORDS[mark](shot) : "";
}

// Another tab may have marked meanwhile: what the browser keeps is read again before it is written.
function recall() {
  const before = truths;
  try {
    const stored = Object.entries(JSON.parse(localStorage.getItem(STORE) ?? "{}"));
    if (stores) truths = Object.fromEntries(stored.filter(([, truth]) => "10?".includes(truth)));
  } catch { kept.hidden = false; }
  for (const shot of view.shots) if (truths[shot.number] !== before[shot.number]) label(shot);
}

function count() {
  const done = read.filter(markOf).length;
  tally.textContent = `${done.toLocaleString("en")} marked`;
  byId("save").disabled = !done;
}

function arrange() {
  const text = find.value.trim().toLowerCase();
  const kinds = {
    all: () => true, boxes: shot => shot.boxes > 0, none: shot => shot.boxes === 0 && !Number.isNaN(shot.probability),
    warned: shot => shot.warned, unread: shot => Number.isNaN(shot.probability),
  };
  const marks = { all: () => true, open: shot => !markOf(shot), done: markOf };
  const hasMark = marks[marked.value] ?? (shot => markOf(shot) === marked.value);
  const last = value => Number.isNaN(value) ? Infinity : value;
  view.arrange(shot => kinds[kind.value](shot) && hasMark(shot) && (!text || shot.id.includes(text)), {
    likely: shot => last(-shot.probability), unlikely: shot => last(shot.probability), listed: shot => Number(shot.number),
  }[order.value]);
}

function show(shot, _, about) {
  const small = stage.querySelector("img");
  if (small) {
    const large = small.cloneNode();
    const here = shot.element;
    large.addEventListener("load", () => { if (view.current().element === here) small.replaceWith(large); });
    large.addEventListener("error", () => {
      const line = document.createElement("span");
      line.className = "warning";
      line.textContent = "The large picture is missing: keep the folder worklist beside this page.";
      if (view.current().element === here) about.append(line);
    });
    large.loading = "eager";
    large.src = here.dataset.src;
  }
  press(shot);
}

function press(shot) {
  for (const button of buttons) {
    button.disabled = Number.isNaN(shot.probability);
    button.setAttribute("aria-pressed", String(markOf(shot) === button.value));
    button.firstChild.textContent = WORDS[button.value](shot);
  }
}

function mark(value) {
  const shot = view.current();
  if (Number.isNaN(shot.probability)) return;
  const again = markOf(shot) === value;
  recall();
  if (again) delete truths[shot.number];
  else truths[shot.number] = MARKS[value](shot);
  try { localStorage.setItem(STORE, JSON.stringify(truths)); } catch { stores = kept.hidden = false; }
  label(shot);
  count();
  view.step(goOn.checked && !again ? 1 : 0);
}

function key(event) {
  const value = { a: "agree", n: "no", u: "unsure" }[event.key];
  if (value) mark(value);
  else if (event.key === "b") view.boxes[0].click();
  else if (event.key === "r") shade(1, 1);
  return value || "br".includes(event.key);
}

let brightness = 1;
let contrast = 1;
function shade(newBrightness, newContrast) {
  [brightness, contrast] = [newBrightness, newContrast].map(value => Math.min(Math.max(value, 0.2), 5));
  stage.style.setProperty("--brightness", brightness);
  stage.style.setProperty("--contrast", contrast);
  shades.textContent = `Brightness ${Math.round(100 * brightness)}%, contrast ${Math.round(100 * contrast)}%`;
}
stage.addEventListener("pointerdown", event => {
  if (event.pointerType === "touch" || event.button !== 0) return;
  const from = [event.clientX, event.clientY, brightness, contrast];
  const move = moved => shade(
    from[2] * Math.exp((from[1] - moved.clientY) / 250), from[3] * Math.exp((moved.clientX - from[0]) / 250));
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", move);
  stage.addEventListener("lostpointercapture", () => stage.removeEventListener("pointermove", move), { once: true });
});
stage.addEventListener("dragstart", event => event.preventDefault());
stage.addEventListener("dblclick", () => shade(1, 1));
byId("reset").addEventListener("click", () => shade(1, 1));

byId("save").addEventListener("click", () => {
  const plain = text => /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // or a spreadsheet takes it for a formula
  const quoted = text => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = [["images", "number", ...(named ? ["image_id"] : []), "mark", "opacity", "probability", "boxes"].join(",")];
  for (const shot of read.filter(markOf)) {
    const { n, p, b, name } = shot.element.dataset;
    lines.push([images, n, ...(named ? [quoted(plain(name))] : []), markOf(shot), truths[n].replace("?", ""), p, b].join(","));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "marks.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});
for (const button of buttons) button.addEventListener("click", () => mark(button.value));
for (const choice of choices) choice.addEventListener(choice === find ? "input" : "change", arrange);
addEventListener("storage", event => {
  if (event.key !== STORE && event.key !== null) return;
  recall();
  count();
  if (view.current()) press(view.current());
});

shade(1, 1);
recall();
count();
arrange();
})();
