// What was found, drawn over a picture: one entry of the server's answer and a canvas, nothing of the page.
// Coordinates are those of the original picture; `scale` is how many pixels of the canvas one of them has.

const VOID = 255;
const NEAR = [[253, 231, 37], [94, 201, 98], [33, 145, 140], [59, 82, 139], [68, 1, 84]]; // viridis, near to far

export const kinds = {
  scored: new Set(["Detections", "PanopticMap"]),
  mapped: new Set(["SemanticMap", "PanopticMap", "DepthMap", "BodyPose"]),
  drawnHere: new Set(["Detections", "SemanticMap", "PanopticMap", "DepthMap", "BodyPose", "Classification"]),
};

// ------------------------------------------------------------------------------------------------- from the answer

/** Unpack the maps of an entry: typed arrays beside their shapes. */
export async function unpack(entry) {
  const types = { uint8: Uint8Array, uint16: Uint16Array, int32: Int32Array, float32: Float32Array };
  for (const map of Object.values(entry.maps ?? {})) {
    const bytes = Uint8Array.from(atob(map.zlib), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    map.values = new types[map.type](await new Response(stream).arrayBuffer());
    delete map.zlib;
  }
  return entry;
}

/** Decode COCO's compressed run lengths: counts of pixels off and on in turn, column by column. */
export function decodeRuns(text) {
  const counts = [];
  for (let at = 0; at < text.length;) {
    let value = 0, shift = 0, more = true;
    while (more) {
      const code = text.charCodeAt(at++) - 48;
      value |= (code & 31) << shift;
      more = (code & 32) !== 0;
      shift += 5;
      if (!more && code & 16) value |= -1 << shift;
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2] : value);
  }
  return counts;
}

/** The things of an entry that can be listed, filtered and counted: each has a name, a label, and a score if any. */
export function things(entry) {
  const result = entry.result ?? {};
  return result.objects ?? result.segments ?? result.classes ?? result.parts ?? [];
}

/** Whether a thing is shown under a threshold and hidden classes. */
export function isShown(entry, thing, view) {
  return !view.hidden.has(thing.name) && !(kinds.scored.has(entry.kind) && thing.score < view.threshold);
}

export function colourOf(model, thing) {
  const row = (model.categories ?? []).findIndex((category) => category.name === thing.name);
  return model.categories?.[thing.label ?? row]?.colour ?? model.categories?.[row]?.colour ?? "#e69f00";
}

// ------------------------------------------------------------------------------------------------------- drawing

/** Draw what an entry says on a context whose canvas shows the picture at `scale`. */
export function drawOverlay(context, entry, model, view, scale) {
  context.save();
  if (entry.kind === "Detections") drawObjects(context, entry, model, view, scale);
  if (entry.kind === "SemanticMap") drawMap(context, entry, view, classColours(entry, model, view, "classes"));
  if (entry.kind === "BodyPose") drawMap(context, entry, view, classColours(entry, model, view, "classes"));
  if (entry.kind === "PanopticMap") drawMap(context, entry, view, segmentColours(entry, model, view));
  if (entry.kind === "DepthMap") drawMap(context, entry, view, depthColours(entry));
  context.restore();
}

function drawObjects(context, entry, model, view, scale) {
  const shown = things(entry).filter((thing) => isShown(entry, thing, view));
  const line = 2 * view.unit;
  context.globalAlpha = view.opacity * 0.75;
  for (const thing of [...shown].reverse()) {
    if (thing.mask) context.drawImage(maskOf(thing, colourOf(model, thing)), 0, 0, ...sizeOf(entry, scale));
  }
  context.globalAlpha = 1;
  context.lineJoin = "round";
  for (const thing of [...shown].reverse()) {
    const [x0, y0, x1, y1] = thing.box.map((value) => value * scale);
    context.strokeStyle = colourOf(model, thing);
    context.lineWidth = thing === view.hovered ? 2 * line : line;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    if (thing.keypoints) drawJoints(context, thing, entry.bones ?? [], colourOf(model, thing), scale, line);
  }
  const size = view.unit * Math.max(11, Math.min(16, context.canvas.width / view.unit / 45));
  context.font = `600 ${size}px system-ui, sans-serif`;
  const taken = [];
  for (const thing of shown) drawTag(context, thing, colourOf(model, thing), scale, size, taken);
}

function drawJoints(context, thing, bones, colour, scale, line) {
  const joints = thing.keypoints;
  for (const [width, style] of [[2.2 * line, "#ffffffcc"], [1.1 * line, colour]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    for (const [a, b] of bones) {
      if (!joints[a] || !joints[b]) continue;
      context.beginPath();
      context.moveTo(joints[a].x * scale, joints[a].y * scale);
      context.lineTo(joints[b].x * scale, joints[b].y * scale);
      context.stroke();
    }
  }
  for (const { x, y } of Object.values(joints)) {
    context.beginPath();
    context.arc(x * scale, y * scale, 1.4 * line, 0, 7);
    context.fillStyle = colour;
    context.fill();
    context.lineWidth = line / 2;
    context.strokeStyle = "#fff";
    context.stroke();
  }
}

function drawTag(context, thing, colour, scale, size, taken) {
  const text = thing.score === 1 ? thing.name : `${thing.name} ${thing.score.toFixed(2)}`;
  const width = context.measureText(text).width + 0.6 * size, height = 1.35 * size;
  const x = Math.max(0, Math.min(thing.box[0] * scale, context.canvas.width - width));
  const above = thing.box[1] * scale - height, y = above >= 0 ? above : thing.box[1] * scale;
  if (taken.some((tag) => x < tag.x + tag.width && tag.x < x + width && y < tag.y + height && tag.y < y + height)) return;
  taken.push({ x, y, width });
  context.fillStyle = colour;
  context.fillRect(x, y, width, height);
  context.fillStyle = isBright(colour) ? "#202124" : "#fff";
  context.textBaseline = "middle";
  context.fillText(text, x + 0.3 * size, y + height / 2);
}

function drawMap(context, entry, view, pixels) {
  if (!pixels) return;
  const canvas = new OffscreenCanvas(pixels.width, pixels.height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  context.globalAlpha = view.opacity;
  context.imageSmoothingEnabled = entry.kind === "DepthMap";
  context.drawImage(canvas, 0, 0, context.canvas.width, context.canvas.height);
}

function maskOf(thing, colour) {
  if (thing.painted?.colour === colour) return thing.painted.canvas;
  const [height, width] = thing.mask.size, [red, green, blue] = rgb(colour);
  const pixels = new ImageData(width, height);
  let at = 0, on = false;
  for (const count of decodeRuns(thing.mask.counts)) {
    for (let end = at + count; on && at < end; at++) {
      pixels.data.set([red, green, blue, 255], 4 * ((at % height) * width + Math.floor(at / height)));
    }
    at = on ? at : at + count;
    on = !on;
  }
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  Object.defineProperty(thing, "painted", { value: { colour, canvas }, enumerable: false, writable: true });
  return canvas;
}

function coloured(map, colourAt) {
  const [height, width] = map.shape, pixels = new ImageData(width, height);
  const words = new Uint32Array(pixels.data.buffer); // little-endian: alpha, blue, green, red
  map.values.forEach((value, row) => { words[row] = colourAt(value); });
  return pixels;
}

function word([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function classColours(entry, model, view, name) {
  const map = entry.maps?.[name];
  const table = new Map(things(entry)
    .filter((thing) => isShown(entry, thing, view) && thing.name !== "background")
    .map((thing) => [labelOf(model, thing), word(rgb(colourOf(model, thing)))]));
  return map && coloured(map, (value) => table.get(value) ?? 0);
}

function segmentColours(entry, model, view) {
  const map = entry.maps?.ids;
  const table = new Map(things(entry).filter((thing) => isShown(entry, thing, view))
    .map((thing) => [thing.id, word(rgb(colourOf(model, thing)))]));
  if (!map) return null;
  const pixels = coloured(map, (value) => table.get(value) ?? 0);
  const [height, width] = map.shape, words = new Uint32Array(pixels.data.buffer);
  for (let y = 1; y < height; y++) { // borders, so that neighbours of one class are told apart
    for (let x = 1; x < width; x++) {
      const at = y * width + x, value = map.values[at];
      if (value !== map.values[at - 1] || value !== map.values[at - width]) words[at] = 0xffffffff;
    }
  }
  return pixels;
}

function depthColours(entry) {
  const map = entry.maps?.depth;
  if (!map) return null;
  const [near, far] = depthLimits(entry);
  return coloured(map, (value) => (value > 0 ? word(depthColour((1 / value - 1 / far) / (1 / near - 1 / far))) : 0));
}

/** The depths between which colours differ: the 2nd and the 98th percentile. */
export function depthLimits(entry) {
  if (!entry.limits) {
    const known = entry.maps.depth.values.filter((value) => value > 0).sort();
    const at = (share) => known[Math.floor(share * (known.length - 1))] ?? 1;
    const limits = [at(0.02), Math.max(at(0.98), at(0.02) * 1.0001)];
    Object.defineProperty(entry, "limits", { value: limits, enumerable: false });
  }
  return entry.limits;
}

/** The colour of an inverse depth between that of the farthest, 0, and that of the nearest, 1. */
export function depthColour(share) {
  const place = Math.min(Math.max(1 - share, 0), 1) * (NEAR.length - 1);
  const low = Math.min(Math.floor(place), NEAR.length - 2), rest = place - low;
  return NEAR[low].map((value, axis) => Math.round(value + rest * (NEAR[low + 1][axis] - value)));
}

// ----------------------------------------------------------------------------------------------- under the pointer

/** Say what is at a point of the original picture: its text, and the thing that is there. */
export function inspect(entry, model, view, x, y) {
  const map = Object.values(entry.maps ?? {})[0];
  if (map?.values) {
    const [height, width] = map.shape;
    const column = Math.min(Math.floor(x / map.step), width - 1), row = Math.min(Math.floor(y / map.step), height - 1);
    const value = map.values[row * width + column];
    if (entry.kind === "DepthMap") return { text: depthText(entry, value) };
    if (entry.kind === "PanopticMap") return named(things(entry).find((thing) => thing.id === value), entry, view);
    return value === VOID ? null : named(things(entry).find((thing) => labelOf(model, thing) === value), entry, view);
  }
  if (entry.kind !== "Detections") return null;
  const inside = things(entry).filter(({ box }) => box[0] <= x && x <= box[2] && box[1] <= y && y <= box[3]);
  const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
  const shown = inside.filter((thing) => isShown(entry, thing, view)).sort((a, b) => area(a) - area(b));
  return named(shown[0], entry, view);
}

export function depthText(entry, value) {
  if (!(value > 0)) return "no depth";
  return entry.result.unit === "metres" ? `${value.toPrecision(3)} m` : `${value.toPrecision(3)} (relative)`;
}

function named(thing, entry, view) {
  if (!thing || !isShown(entry, thing, view)) return null;
  return { text: thing.score === undefined ? thing.name : `${thing.name} ${thing.score.toFixed(2)}`, thing };
}

// ------------------------------------------------------------------------------------------------------ small things

function labelOf(model, thing) {
  return thing.label ?? (model.categories ?? []).findIndex((category) => category.name === thing.name);
}

function sizeOf(entry, scale) {
  return [entry.width * scale, entry.height * scale];
}

function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

function isBright(colour) {
  const [red, green, blue] = rgb(colour);
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140;
}
