// The page: pictures go to the server once, and come back with all that was found; what of it is shown is decided here.

import { colourOf, depthColour, depthLimits, depthText, drawOverlay, inspect, isShown, kinds, things, unpack }
  from "./overlay.js";
import { $, element, say, swatch } from "./elements.js";
import { anotherSeed, layWish, make } from "./making.js";
import { ask, needsToken } from "./server.js";

const MAPS = 1024; // pixels of the longer side of maps: as many as a screen shows of a picture
const AT_ONCE = 4; // requests
const LISTED = 200; // things in the list
const MOST = 8; // times that a small picture is enlarged
const SHARE = 0.64; // of the height of the window that a picture takes at most

const state = { models: [], model: null, limits: {}, pictures: [], chosen: -1, running: 0, waiting: [] };
const view = { threshold: 0.5, hidden: new Set(), opacity: 0.6, hovered: null, bare: false, scored: false };

async function start() {
  say("Loading…");
  const { models, limits } = await (await ask("/models")).json();
  Object.assign(state, { models, limits });
  $("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
  $("models").hidden = models.length < 2;
  $("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  $("accepts").textContent = `up to ${megabytes(limits.bytes)} each; nothing leaves ${location.hostname}`;
  choose(models[0].name);
  say("");
}

function choose(name) {
  state.model = state.models.find((model) => model.name === name);
  const { does, parameters, system } = state.model;
  $("about").textContent = `${system}, ${count(parameters)} parameters`;
  const looks = does.includes("predict") || does.includes("embed");
  $("looking").hidden = !looks;
  $("making").hidden = looks;
  view.threshold = state.model.threshold ?? 0.5;
  view.hidden.clear();
  view.scored = false;
  $("threshold").value = view.threshold;
  tellApi();
  if (!looks) return layWish(state.model);
  $("files").multiple = true;
  if (state.model.pairs) $("accepts").textContent = "two by two: the left picture, then the right one";
  state.waiting = [];
  for (const picture of state.pictures) forget(picture);
  state.pictures.forEach(enqueue);
  show();
}

// -------------------------------------------------------------------------------------------------------- pictures in

function add(files) {
  const given = [...files].filter((file) => file.size);
  if (!given.length) return;
  say("");
  const groups = state.model.pairs ? given.flatMap((_, row) => (row % 2 ? [] : [given.slice(row, row + 2)]))
    : given.map((file) => [file]);
  for (const group of groups) {
    const picture = { files: group, name: group[0].name || "pasted.png", url: URL.createObjectURL(group[0]) };
    state.pictures.push(picture);
    enqueue(picture);
  }
  select(state.pictures.length - groups.length);
}

function forget(picture) {
  Object.assign(picture, { entry: null, error: null, drawing: null, ticket: null });
}

function enqueue(picture) {
  state.waiting.push(picture);
  pump();
}

async function pump() {
  if (state.running >= AT_ONCE || !state.waiting.length) return;
  const picture = state.waiting.shift(), { model } = state, ticket = {};
  picture.ticket = ticket;
  state.running += 1;
  try {
    const [entry, bitmap] = await Promise.all([predict(picture, model), picture.bitmap ?? bitmapOf(picture)]);
    if (picture.ticket !== ticket) return; // another model was chosen, or the picture removed
    Object.assign(picture, { entry, bitmap });
    if (!bitmap || !kinds.drawnHere.has(entry.kind)) picture.drawing = await drawnBy(picture, model);
  } catch (error) {
    if (picture.ticket !== ticket) return;
    if (error.status === 503) setTimeout(() => enqueue(picture), 1000);
    else picture.error = error.message;
  } finally {
    state.running -= 1;
    if (state.pictures[state.chosen] === picture) show();
    layStrip();
    pump();
  }
}

function formOf(picture) {
  const form = new FormData();
  for (const file of picture.files) form.append("images", file, file.name || picture.name);
  return form;
}

async function predict(picture, model) {
  const bytes = picture.files.reduce((sum, file) => sum + file.size, 0);
  if (bytes > state.limits.bytes) {
    throw new Error(`${picture.name} has ${megabytes(bytes)}; the server takes ${megabytes(state.limits.bytes)}`);
  }
  const verb = model.does.includes("predict") ? "predict" : "embed";
  const wanted = new URLSearchParams({ model: model.name, ...(verb === "predict" && { threshold: 0, maps: MAPS }) });
  const answer = await ask(`/${verb}?${wanted}`, { method: "POST", body: formOf(picture) });
  const entry = (await answer.json()).results[0];
  return unpack(verb === "predict" ? entry : { ...entry, kind: "Embedding", result: { embedding: entry.vector } });
}

async function drawnBy(picture, model) {
  if (!model.does.includes("predict")) return null;
  const wanted = new URLSearchParams({ model: model.name, format: "jpeg" });
  const answer = await ask(`/predict?${wanted}`, { method: "POST", body: formOf(picture) });
  return URL.createObjectURL(await answer.blob());
}

async function bitmapOf(picture) {
  try {
    return await createImageBitmap(picture.files[0], { imageOrientation: "from-image" });
  } catch {
    return null; // a format that only the server reads
  }
}

function clear() {
  for (const picture of state.pictures) {
    picture.ticket = null;
    URL.revokeObjectURL(picture.url);
    if (picture.drawing) URL.revokeObjectURL(picture.drawing);
    picture.bitmap?.close();
  }
  Object.assign(state, { pictures: [], chosen: -1, waiting: [] });
  show();
}

// ------------------------------------------------------------------------------------------------------------- shown

function select(row) {
  if (!state.pictures.length) return;
  state.chosen = (row + state.pictures.length) % state.pictures.length;
  view.hovered = null;
  show();
}

function show() {
  const picture = state.pictures[state.chosen], entry = picture?.entry;
  $("drop").hidden = Boolean(picture);
  $("viewer").hidden = !picture;
  $("clear").hidden = !picture;
  $("downloads").hidden = !entry;
  $("save-all").hidden = state.pictures.length < 2;
  $("value").hidden = true;
  if (entry) view.scored = kinds.scored.has(entry.kind);
  $("panel").hidden = !(entry || (picture && view.scored));
  $("threshold-field").hidden = !view.scored;
  $("opacity-field").hidden = !(entry && (kinds.mapped.has(entry.kind) || things(entry).some((thing) => thing.mask)));
  $("frame").classList.toggle("busy", Boolean(picture && !entry && !picture.error));
  layStrip();
  layClasses();
  layScale();
  refresh();
}

function refresh() {
  const picture = state.pictures[state.chosen], entry = picture?.entry;
  $("threshold-value").textContent = view.threshold.toFixed(2);
  layFound();
  if (!picture) return;
  paint(picture);
  const bad = picture.error ?? "";
  $("summary").classList.toggle("bad", Boolean(bad));
  $("summary").textContent = bad || (entry ? `${picture.name}: ${summaryOf(entry)}` : `${picture.name}…`);
}

function summaryOf(entry) {
  if (!kinds.scored.has(entry.kind)) return entry.summary ?? `a vector of ${entry.result.embedding.length} numbers`;
  const counts = new Map();
  for (const thing of things(entry)) {
    if (isShown(entry, thing, view)) counts.set(thing.name, (counts.get(thing.name) ?? 0) + 1);
  }
  const found = [...counts].map(([name, times]) => `${times} ${name}`).join(", ");
  const best = Math.max(0, ...things(entry).map((thing) => thing.score));
  return found || (best ? `nothing above ${view.threshold.toFixed(2)} (best ${best.toFixed(2)})` : "nothing found");
}

function paint(picture) {
  const canvas = $("canvas"), { entry, bitmap, drawing } = picture;
  const useDrawing = Boolean(drawing) && !view.bare;
  $("drawn").hidden = !useDrawing;
  canvas.hidden = useDrawing;
  if (useDrawing) {
    if ($("drawn").src !== drawing) $("drawn").src = drawing;
    return;
  }
  if (!bitmap) {
    canvas.hidden = true; // it may show another picture
    return bitmapOf(picture).then((made) => {
      picture.bitmap ??= made;
      if (picture.bitmap && state.pictures[state.chosen] === picture) paint(picture);
    });
  }
  const width = entry?.width ?? bitmap.width, height = entry?.height ?? bitmap.height;
  const room = Math.max(100, Math.min($("frame").clientWidth - 10, (SHARE * innerHeight * width) / height));
  const shown = Math.min(room, MOST * width); // pixels of the page
  canvas.style.width = `${shown}px`;
  render(canvas, picture, (shown * devicePixelRatio) / width, devicePixelRatio);
}

/** Draw a picture with what was found, `scale` times as large; lines and letters are of `unit` pixels. */
function render(canvas, picture, scale, unit) {
  const { entry, bitmap } = picture;
  canvas.width = Math.round((entry?.width ?? bitmap.width) * scale);
  canvas.height = Math.round((entry?.height ?? bitmap.height) * scale);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  if (entry && !view.bare) drawOverlay(context, entry, state.model, { ...view, unit }, canvas.width / entry.width);
}

function layStrip() {
  const several = state.pictures.length > 1;
  $("strip").hidden = !several;
  if (!several) return;
  const focused = $("strip").contains(document.activeElement);
  $("strip").replaceChildren(...state.pictures.map((picture, row) => {
    const button = element("button", { type: "button", title: picture.name, ariaPressed: row === state.chosen });
    button.setAttribute("aria-label", picture.error ? `${picture.name}: ${picture.error}` : picture.name);
    const image = element("img", { src: picture.url, alt: "" });
    image.addEventListener("error", () => image.replaceWith(picture.name));
    button.append(picture.error ? element("span", { className: "bad", textContent: picture.name }) : image);
    button.addEventListener("click", () => select(row));
    return button;
  }));
  if (focused) $("strip").children[state.chosen]?.focus();
}

function layClasses() {
  const counts = new Map();
  for (const { entry } of state.pictures) {
    if (!entry || !["Detections", "SemanticMap", "PanopticMap"].includes(entry.kind)) continue;
    for (const thing of things(entry)) counts.set(thing.name, (counts.get(thing.name) ?? 0) + 1);
  }
  $("classes").hidden = counts.size < 2;
  $("class-list").replaceChildren(...[...counts.keys()].sort().map((name) => {
    const box = element("input", { type: "checkbox", checked: !view.hidden.has(name), name: "class", value: name });
    box.addEventListener("change", () => {
      if (box.checked) view.hidden.delete(name);
      else view.hidden.add(name);
      refresh();
    });
    const row = element("label");
    row.append(box, swatch(colourOf(state.model, { name })), element("span", { className: "name", textContent: name }));
    return row;
  }));
}

function layScale() {
  const entry = state.pictures[state.chosen]?.entry, isDepth = entry?.kind === "DepthMap" && entry.maps;
  $("scale").hidden = !isDepth;
  if (!isDepth) return;
  const context = $("scale-bar").getContext("2d");
  for (let x = 0; x < 256; x++) {
    context.fillStyle = `rgb(${depthColour(1 - x / 255)})`;
    context.fillRect(x, 0, 1, 1);
  }
  [$("scale-near").textContent, $("scale-far").textContent] = depthLimits(entry).map((value) => depthText(entry, value));
}

function layFound() {
  const entry = state.pictures[state.chosen]?.entry;
  const rows = !entry ? [] : entry.kind === "Classification" ? entry.result.top.map((row) => rowOf(row, row.score))
    : things(entry).filter((thing) => isShown(entry, thing, view))
      .sort((a, b) => (b.score ?? 0) - (a.score ?? 0)).slice(0, LISTED).map((thing) => rowOf(thing, thing.share));
  $("found").replaceChildren(...rows);
}

function rowOf(thing, share) {
  const row = element("li"), colour = colourOf(state.model, thing), value = thing.score ?? share;
  row.append(swatch(colour), element("span", { textContent: thing.name ?? "" }),
    element("span", { className: "number", textContent: value === undefined ? "" : percent(value) }));
  if (share !== undefined) {
    const bar = element("span", { className: "share" }), filled = element("i");
    filled.style.width = `${100 * share}%`;
    filled.style.background = colour;
    bar.append(filled);
    row.append(bar);
  }
  row.classList.toggle("hovered", thing === view.hovered);
  row.addEventListener("pointerenter", () => hover(thing));
  row.addEventListener("pointerleave", () => hover(null));
  return row;
}

function hover(thing) {
  if (view.hovered === thing) return;
  view.hovered = thing;
  const picture = state.pictures[state.chosen];
  if (picture?.entry?.kind === "Detections") paint(picture);
}

function point(event) {
  const entry = state.pictures[state.chosen]?.entry, canvas = $("canvas");
  if (!entry) return;
  const area = canvas.getBoundingClientRect(), frame = $("frame").getBoundingClientRect();
  const x = ((event.clientX - area.left) / area.width) * entry.width;
  const y = ((event.clientY - area.top) / area.height) * entry.height;
  const inside = x >= 0 && y >= 0 && x < entry.width && y < entry.height;
  const found = inside ? inspect(entry, state.model, view, x, y) : null;
  $("value").hidden = !found;
  hover(found?.thing ?? null);
  if (!found) return;
  $("value").textContent = found.text;
  const left = event.clientX - frame.left + 14, room = frame.width - $("value").offsetWidth - 4;
  $("value").style.left = `${Math.max(4, Math.min(left, room))}px`;
  $("value").style.top = `${Math.max(4, event.clientY - frame.top - 34)}px`;
}

// ---------------------------------------------------------------------------------------------------------- downloads

function plain(picture) {
  const { maps, bones, vector, result, ...about } = picture.entry, list = things(picture.entry);
  const kept = list.filter((thing) => isShown(picture.entry, thing, view));
  const key = Object.keys(result).find((name) => result[name] === list);
  const scored = kinds.scored.has(picture.entry.kind);
  return { ...about, image: picture.name, summary: summaryOf(picture.entry), model: state.model.name,
    ...(scored && { threshold: view.threshold }), result: key ? { ...result, [key]: kept } : result };
}

async function savePicture() {
  const picture = state.pictures[state.chosen];
  if (!picture?.entry) return;
  if (picture.drawing) return save(picture.drawing, `${stem(picture)}-found.jpg`);
  const canvas = document.createElement("canvas");
  const { width, height } = picture.entry;
  const scale = Math.max(1, Math.floor(640 / Math.max(width, height)));
  render(canvas, picture, scale, Math.max(1, (scale * width) / 900));
  const blob = await new Promise((resolve) => canvas.toBlob(resolve));
  saveBlob(blob, `${stem(picture)}-found.png`);
}

function saveJson(pictures, name) {
  const ready = pictures.filter((picture) => picture?.entry).map(plain);
  if (!ready.length) return;
  const value = pictures.length === 1 ? ready[0] : ready;
  saveBlob(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }), name);
}

function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  save(url, name);
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

function save(href, download) {
  element("a", { href, download }).click();
}

// ------------------------------------------------------------------------------------------------------------- camera

let stream = null;

async function openCamera() {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } } });
  } catch (error) {
    say(`no camera: ${error.message}`, true);
    return;
  }
  $("video").srcObject = stream;
  $("camera-dialog").showModal();
}

function closeCamera() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  $("camera-dialog").close();
}

function take() {
  const video = $("video"), canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const time = new Date().toISOString().slice(11, 19).replaceAll(":", "");
  canvas.toBlob((blob) => {
    closeCamera();
    if (blob) add([new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" })]);
  }, "image/jpeg", 0.95);
}

// ---------------------------------------------------------------------------------------------------------- small things

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 0)} MB`;
const percent = (share) => (share < 0.005 ? "<1%" : `${Math.round(100 * share)}%`);
const stem = (picture) => picture.name.replace(/\.[^.]*$/, "");
const count = (value) => (value >= 1e6 ? `${(value / 1e6).toFixed(1)} million` : value.toLocaleString("en"));

function tellApi() {
  const { does, name } = state.model, bearer = needsToken() ? " -H 'Authorization: Bearer TOKEN'" : "";
  const looks = does.filter((verb) => verb !== "sample")
    .map((verb) => `curl${bearer} -F images=@photo.jpg '${location.origin}/${verb}?model=${name}'`);
  const wish = `curl${bearer} -H 'Content-Type: application/json' -d '{"model": "${name}", "count": 4}' ${location.origin}`;
  $("curl").textContent = [...looks, ...(does.includes("sample") ? [`${wish}/sample`] : [])].join("\n");
}

function setThreshold(value) {
  view.threshold = Math.min(1, Math.max(0, Math.round(100 * value) / 100));
  $("threshold").value = view.threshold;
  refresh();
}

function setBare(bare) {
  if (view.bare === bare || !state.pictures[state.chosen]) return;
  view.bare = bare;
  paint(state.pictures[state.chosen]);
}

// ------------------------------------------------------------------------------------------------------------- events

const KEYS = {
  o: () => $("files").click(),
  ArrowLeft: () => select(state.chosen - 1),
  ArrowRight: () => select(state.chosen + 1),
  "[": () => setThreshold(view.threshold - 0.05),
  "]": () => setThreshold(view.threshold + 0.05),
  h: () => setBare(true),
  p: savePicture,
  j: () => saveJson([state.pictures[state.chosen]], `${stem(state.pictures[state.chosen] ?? { name: "" })}.json`),
  r: () => !$("making").hidden && anotherSeed(),
  "?": () => $("help-dialog").showModal(),
};

function listen() {
  $("drop").addEventListener("click", () => $("files").click());
  $("open").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    add($("files").files);
    $("files").value = "";
  });
  $("clear").addEventListener("click", clear);
  $("model").addEventListener("change", () => choose($("model").value));
  $("threshold").addEventListener("input", () => setThreshold(Number($("threshold").value)));
  $("opacity").addEventListener("input", () => {
    view.opacity = Number($("opacity").value);
    refresh();
  });
  for (const kind of ["pointermove", "pointerdown"]) $("canvas").addEventListener(kind, point);
  $("canvas").addEventListener("pointerleave", () => {
    $("value").hidden = true;
    hover(null);
  });
  $("save-picture").addEventListener("click", savePicture);
  $("save-json").addEventListener("click", KEYS.j);
  $("save-all").addEventListener("click", () => saveJson(state.pictures, "found.json"));
  $("camera").addEventListener("click", openCamera);
  $("take").addEventListener("click", take);
  $("camera-close").addEventListener("click", closeCamera);
  $("camera-dialog").addEventListener("cancel", closeCamera);
  $("help").addEventListener("click", KEYS["?"]);
  $("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
  $("wish").addEventListener("submit", (event) => {
    event.preventDefault();
    make();
  });
  $("dice").addEventListener("click", anotherSeed);
  addEventListener("resize", () => state.pictures[state.chosen] && paint(state.pictures[state.chosen]));
  listenToKeys();
  listenToDrops();
}

const TEXT = "input:not([type=checkbox], [type=range], [type=file])";

function listenToKeys() {
  addEventListener("keydown", (event) => {
    const typing = event.target.closest(`textarea, select, dialog[open], ${TEXT}`);
    const sliding = event.target.type === "range" && event.key.startsWith("Arrow");
    if (typing || sliding || event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  addEventListener("keyup", (event) => event.key === "h" && setBare(false));
  addEventListener("blur", () => setBare(false));
}

function listenToDrops() {
  addEventListener("paste", (event) => !$("looking").hidden && add(event.clipboardData.files));
  for (const kind of ["dragenter", "dragover"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.classList.add("over");
    });
  }
  addEventListener("dragleave", (event) => !event.relatedTarget && document.body.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("over");
    if (!$("looking").hidden) add(event.dataTransfer.files);
  });
}

listen();
start().catch((error) => say(error.message, true));
