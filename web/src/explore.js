/** The Explore tab: one picture, a slider per latent (most active first), and the plane of two latents. */

import { Latest } from "./latest.js";
import { plane } from "./plane.js";
import { savePng, show } from "./pixels.js";
import { FARTHEST, parseWhole } from "./state.js";
import { direction } from "./way.js";

const SHOWN = 32; // number of sliders shown before "All latents" is pressed
const SAMPLES = 6; // that the activity of each latent is measured on; one where there are hundreds of latents

export function explore(app) {
  const canvas = document.getElementById("explore-picture");
  const list = document.getElementById("sliders");
  const all = document.getElementById("sliders-all");
  const index = document.getElementById("index");
  const latest = new Latest(app.fail);
  const sliders = new Map(); // dimension → { row, input, output }
  const way = direction(app);
  const map = plane(app, latents, shift);
  let owner = null; // the model that the sliders belong to
  let moved = null; // time of the last slider movement, until its picture is drawn

  const choose = (value) => app.store.set({ index: value, edits: new Map() });
  index.onchange = () => choose(parseWhole(index.value) ?? app.store.state.index);
  document.getElementById("index-next").onclick = () => choose(app.store.state.index + 1n);
  document.getElementById("index-previous").onclick = () => choose(app.store.state.index - (app.store.state.index ? 1n : 0n));
  document.getElementById("explore-reset").onclick = () => app.store.set({ edits: new Map(), amount: 0 });
  document.getElementById("explore-save").onclick = () =>
    savePng(`seed-${app.store.state.seed}-${app.store.state.index}.png`, [canvas], 1, 16);
  all.onclick = () => {
    for (const { row } of sliders.values()) row.hidden = false;
    all.hidden = true;
  };

  return { keys: ["seed", "temperature", "label", "index", "edits", "axes", "wayFrom", "wayTo", "amount"], render };

  /** The latents shown: those of the sample, with the visitor's edits applied, moved along the direction. */
  function latents() {
    const z = unmoved();
    const moved = way.shift(z);
    return z.map((value, dim) => value + moved[dim]);
  }

  /** By how much the direction moves each latent; an edit is stored without it. */
  function shift() {
    return way.shift(unmoved());
  }

  function unmoved() {
    const { seed, index, temperature, label, edits } = app.store.state;
    const z = app.model.latents(seed, [index], temperature, label);
    for (const [dim, value] of edits) if (dim < z.length) z[dim] = value;
    return z;
  }

  function render() {
    if (owner !== app.model) build();
    const z = latents();
    index.value = app.store.state.index;
    way.show();
    for (const [dim, { row, input, output }] of sliders) {
      input.value = z[dim];
      output.textContent = z[dim].toFixed(2);
      row.classList.toggle("edited", app.store.state.edits.has(dim));
    }
    document.getElementById("explore-reset").disabled = app.store.state.edits.size === 0 && app.store.state.amount === 0;
    const edited = app.store.state.edits.size ? `, ${app.store.state.edits.size} latents moved` : "";
    canvas.setAttribute("aria-label", `Sample ${app.store.state.index} of seed ${app.store.state.seed}${edited}`);
    map.render(z);
    return latest.ask(async () => {
      show(canvas, app.model, await app.model.decode(z));
      if (moved !== null) performance.measure("slider to picture", { start: moved });
      moved = null;
    });
  }

  function build() {
    owner = app.model;
    list.replaceChildren();
    sliders.clear();
    for (let dim = 0; dim < owner.latentDim; dim++) list.append(slider(dim));
    all.hidden = owner.latentDim <= SHOWN;
    all.textContent = `All ${owner.latentDim} latents`;
    way.offer(owner.classes);
    map.setDimensions(owner.latentDim);
    order(owner).catch(app.fail);
  }

  function slider(dim) {
    const row = document.createElement("label");
    row.className = "slider";
    row.hidden = dim >= SHOWN;
    row.innerHTML = `<span>z<sub>${dim}</sub></span><input type="range" step="0.01"><output></output><i aria-hidden="true"></i>`;
    const [input, output] = [row.querySelector("input"), row.querySelector("output")];
    [input.min, input.max] = [-FARTHEST, FARTHEST];
    input.oninput = () => {
      moved ??= performance.now();
      const edits = new Map(app.store.state.edits).set(dim, Number(input.value) - shift()[dim]);
      app.store.set({ edits });
    };
    input.ondblclick = () => {
      const edits = new Map(app.store.state.edits);
      edits.delete(dim);
      app.store.set({ edits });
    };
    sliders.set(dim, { row, input, output });
    return row;
  }

  /** Sorts the sliders by how much each latent changes the picture, and offers the two most active ones for the plane. */
  async function order(model) {
    const activity = await activityOf(model);
    if (model !== owner) return;
    const dims = mostActiveFirst(activity);
    const most = activity[dims[0]] || 1;
    dims.forEach((dim, rank) => {
      const { row } = sliders.get(dim);
      row.hidden = rank >= SHOWN && !all.hidden;
      row.title = `Moving latent ${dim} from -2 to 2 changes a pixel by ${(100 * activity[dim]).toFixed(1)} % on average`;
      row.querySelector("i").style.setProperty("--share", activity[dim] / most);
      list.append(row);
    });
    map.offer(dims);
    list.dataset.ordered = "true";
  }
}

const measured = new WeakMap(); // model → promise of its activity

/** The activity of each latent, see `measureActivity`; measured once for each model. */
export function activityOf(model) {
  if (!measured.has(model)) measured.set(model, measureActivity(model));
  return measured.get(model);
}

/** The latents in the order of their activity, the most active one first. */
export function mostActiveFirst(activity) {
  return [...activity.keys()].sort((a, b) => activity[b] - activity[a]);
}

/** Mean absolute change of a pixel, in [0, 1], when a latent goes from -2 to 2, over a few samples: one per latent. */
async function measureActivity(model) {
  const samples = model.latentDim > 2 * SHOWN ? 1 : SAMPLES;
  const bases = model.latents(0n, Array.from({ length: samples }, (_, i) => BigInt(i)));
  const activity = new Float64Array(model.latentDim);
  for (let dim = 0; dim < model.latentDim; dim++) {
    const z = new Float32Array(2 * bases.length);
    z.set(bases);
    z.set(bases, bases.length);
    for (let i = 0; i < samples; i++) [z[i * model.latentDim + dim], z[bases.length + i * model.latentDim + dim]] = [-2, 2];
    const pictures = await model.decode(z);
    const half = pictures.length / 2;
    for (let i = 0; i < half; i++) activity[dim] += Math.abs(pictures[i] - pictures[half + i]) / half;
    if (dim % 8 === 7) await new Promise(requestAnimationFrame); // the visitor comes first
  }
  return activity;
}
