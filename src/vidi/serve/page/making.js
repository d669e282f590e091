// Pictures from nothing: the form of what a model can be asked for, and the gallery of what it made.

import { $, element, say } from "./elements.js";
import { ask } from "./server.js";

let model = null;
const FIRST = ["prompt", "negative", "class", "guidance"]; // of the conditions; the others are below "More"

/** Lay out the form of what a model can be asked for. */
export function layWish(asked) {
  model = asked;
  const field = (name, label, made) => {
    const row = element("label", { className: "field" });
    row.append(element("span", { textContent: label }), Object.assign(made, { name }));
    return row;
  };
  const number = (value, more) => element("input", { type: "number", value, ...more });
  const inputOf = ({ name, type, choices, default: usual }) => {
    if (choices) {
      const list = element("select");
      list.append(...choices.map((choice) => new Option(choice, choice, false, choice === usual)));
      return list;
    }
    if (name === "prompt") return element("textarea", { rows: 3, value: usual ?? "" });
    if (/^(int|float)/.test(type)) {
      return number(usual ?? "", { step: type.startsWith("int") ? 1 : "any", placeholder: usual ?? "usual" });
    }
    return element("input", { value: usual ?? "", placeholder: usual === null ? "usual" : "" });
  };
  const rows = new Map(model.conditions.map((row) => [row.name, field(row.name, labelOf(row), inputOf(row))]));
  const shown = [...rows.keys()].filter((name) => FIRST.includes(name));
  shown.sort((a, b) => FIRST.indexOf(a) - FIRST.indexOf(b));
  const others = [...rows.keys()].filter((name) => !FIRST.includes(name));
  $("wish-fields").replaceChildren(...shown.map((name) => rows.get(name)),
    field("count", "Pictures", number(Math.min(4, model.most), { min: 1, max: model.most, required: true })),
    field("seed", "Seed", number(0, { min: 0, step: 1, required: true })));
  $("wish-others").replaceChildren(...others.map((name) => rows.get(name)));
  $("wish-more").hidden = !others.length;
  $("gallery").replaceChildren();
}

function labelOf({ name, type }) {
  return type === "str" ? name[0].toUpperCase() + name.slice(1) : `${name[0].toUpperCase()}${name.slice(1)} (${type})`;
}

/** Ask for pictures, and show them. */
export async function make() {
  if ($("make").disabled) return;
  const values = Object.fromEntries(new FormData($("wish"))), { count: pictures, seed, ...rest } = values;
  const conditions = Object.fromEntries(Object.entries(rest).filter(([name, value]) => {
    const usual = model.conditions.find((row) => row.name === name).default;
    return value !== "" && value !== String(usual);
  }));
  $("make").disabled = true;
  const began = Date.now(), clock = setInterval(() => say(`Making… ${Math.round((Date.now() - began) / 1000)} s`), 1000);
  say("Making…");
  try {
    const body = JSON.stringify({ model: model.name, count: Number(pictures), seed: Number(seed), conditions });
    const answer = await ask("/sample", { method: "POST", body, headers: { "Content-Type": "application/json" } });
    $("gallery").replaceChildren(...(await answer.json()).images.map(pictureMade));
    say("");
  } catch (error) {
    say(error.message, true);
  } finally {
    clearInterval(clock);
    $("make").disabled = false;
  }
}

function pictureMade({ seed, png }) {
  const figure = element("figure"), caption = element("figcaption"), source = `data:image/png;base64,${png}`;
  const image = element("img", { src: source, alt: `made from seed ${seed}` });
  image.addEventListener("load", () => image.classList.toggle("large", image.naturalWidth >= 160));
  const link = element("a", { href: source, download: `${model.name}-${seed}.png`, textContent: "Save" });
  link.setAttribute("aria-label", `Save the picture of seed ${seed}`);
  caption.append(`seed ${seed}`, link);
  figure.append(image, caption);
  return figure;
}

/** Make others, from the seeds that follow. */
export function anotherSeed() {
  const field = $("wish").elements.namedItem("seed");
  field.value = Number(field.value) + Number($("wish").elements.namedItem("count").value);
  make();
}
