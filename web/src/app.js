/** The page: opens a bundle, updates the tabs when the address changes, and shows errors. */

import { Bundle, BundleError } from "./bundle.js";
import { draw } from "./draw.js";
import { explore } from "./explore.js";
import { gallery } from "./gallery.js";
import { checkGolden, readReference } from "./golden.js";
import { tryGpu } from "./gpu.js";
import { Latest } from "./latest.js";
import { Model } from "./model.js";
import { morph } from "./morph.js";
import { HOTTEST, Store, TABS, parseWhole } from "./state.js";

const PROVIDERS = { wasm: "WebAssembly", webgpu: "WebGPU" };

const $ = (id) => document.getElementById(id);
const app = { store: new Store(), model: null, fail };
const checks = new Latest(refuse);
const rooms = { gallery: gallery(app), explore: explore(app), morph: morph(app), draw: draw(app) };

app.store.listen((state, keys) => {
  if (keys.has("tab")) {
    for (const tab of TABS.filter((tab) => tab !== state.tab)) rooms[tab].leave?.();
    showTab();
  }
  showControls();
  if (app.model && (keys.has("tab") || rooms[state.tab].keys.some((key) => keys.has(key)))) rooms[state.tab].render();
});

wireControls();
wireFiles();
showTab();
showControls();
load(() => Bundle.fromAddress(new URLSearchParams(location.search).get("bundle") ?? "bundle/"));

/** Opens a bundle and shows it; the golden values are checked after the first picture is drawn. */
async function load(open) {
  $("message").hidden = true;
  document.body.dataset.state = "loading";
  try {
    const model = await Model.open(await open());
    app.model = model;
    describe(model);
    offerClasses(model);
    showControls();
    document.body.dataset.state = "ready";
    await rooms[app.store.state.tab].render();
    performance.mark("first picture");
    model.onFallback = () => checks.ask(() => check(model));
    await checks.ask(() => check(model));
  } catch (error) {
    refuse(error);
  }
}

/** Shows a bundle's error, and no bundle. */
function refuse(error) {
  app.model = null;
  document.body.dataset.state = "failed";
  badge("none", "no bundle");
  fail(error);
}

function describe({ bundle, width, height, channels, latentDim }) {
  const { data, training, architecture } = bundle.metadata.provenance;
  const facts = [data?.name, architecture, `${latentDim} latents`, `${width}×${height}${channels === 3 ? " colour" : ""}`];
  if (training?.test_loss_nats) facts.push(`test loss ${training.test_loss_nats.toFixed(1).replace("-", "−")} nats`);
  $("facts").textContent = facts.filter(Boolean).join(" · ");
  $("facts").title = "The test loss bounds −log p(image) from above. A nat is the unit of information by natural logarithms: 1.44 bits.";
}

/** The classes that samples can be asked for, in a list; hidden where there are none. */
function offerClasses({ classes }) {
  const names = ["any", ...classes];
  $("class").replaceChildren(...names.map((name, i) => new Option(name, `${i - 1}`)));
  $("class-choice").hidden = classes.length === 0;
}

/** Compares this browser with the golden values, after the decoder has gone to the GPU if it can. */
async function check(model) {
  if (model !== app.model) return;
  if (!model.bundle.manifest.files["golden.json"]) {
    badge("none", "no golden values");
    return;
  }
  badge("running", "checking");
  const started = performance.now();
  const reference = await readReference(model.bundle);
  if (model.whyWasm === null && model.provider === "wasm") await tryGpu(model, reference);
  const rows = await checkGolden(model, reference, (name) => badge("running", name.toLowerCase()));
  const passed = rows.every((row) => row.passed);
  badge(passed ? "passed" : "failed", passed ? "parity passed" : "parity failed", PROVIDERS[model.provider]);
  $("parity-rows").replaceChildren(
    ...rows.map((row) => {
      const line = document.createElement("tr");
      line.className = row.passed ? "passed" : "failed";
      for (const text of [row.name, row.figure, row.limit, row.passed ? "pass" : "fail"])
        line.append(Object.assign(document.createElement("td"), { textContent: text }));
      return line;
    }),
  );
  const mean = await pace(model);
  $("parity-notes").textContent =
    `The decoder runs ${model.whyWasm === null ? "on WebGPU" : `in WebAssembly, ${model.whyWasm}`}. ` +
    `${mean.toFixed(2)} ms per picture, one at a time; the check took ${Math.round(performance.now() - started)} ms; ` +
    `onnxruntime-web ${model.ortVersion}, pair id ${model.bundle.metadata.pair_id}. ` +
    (crypto.subtle
      ? "Sizes and sha256 of its files match the manifest."
      : "Sizes of its files match the manifest; sha256 is not available on this origin.");
}

/** Milliseconds from seed and index to picture, median of several calls. */
async function pace(model) {
  const times = [];
  for (let i = 0; i < 40; i++) {
    const start = performance.now();
    await model.decode(model.latents(0n, [BigInt(i)]));
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[20];
}

/** where: what the decoder runs on, once the golden values have been compared. */
function badge(state, text, where = "") {
  $("badge").dataset.state = state;
  $("badge-text").textContent = text;
  $("badge-where").textContent = where;
}

function fail(error) {
  if (!(error instanceof BundleError)) console.error(error);
  $("message-text").textContent = error.message;
  $("message").hidden = false;
}

function wireControls() {
  const { store } = app;
  $("seed").onchange = () => store.set({ seed: parseWhole($("seed").value) ?? store.state.seed });
  $("seed-new").onclick = () => store.set({ seed: BigInt(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000), edits: new Map() });
  $("temperature").max = HOTTEST;
  $("temperature").oninput = () => store.set({ temperature: Number($("temperature").value) });
  $("class").onchange = () => store.set({ label: Number($("class").value), edits: new Map() });
  $("link").onclick = async () => {
    await navigator.clipboard?.writeText(store.link());
    $("link").textContent = navigator.clipboard ? "Copied" : "Copy it from the address bar";
    setTimeout(() => ($("link").textContent = "Copy link"), 1500);
  };
  $("badge").onclick = () => $("parity").showModal();
  $("message-close").onclick = () => ($("message").hidden = true);
  for (const tab of TABS) $(`tab-${tab}`).onclick = () => store.set({ tab });
  $("tabs").onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tab = TABS[(TABS.indexOf(store.state.tab) + step + TABS.length) % TABS.length];
    store.set({ tab });
    $(`tab-${tab}`).focus();
  };
  $("theme").onclick = () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  };
}

function showControls() {
  const { seed, temperature, label, tab } = app.store.state;
  $("class").value = `${label < (app.model?.classes.length ?? 0) ? label : -1}`;
  $("seed").value = seed;
  $("temperature").value = temperature;
  $("temperature-value").textContent = temperature.toFixed(2);
  $("controls").hidden = tab === "draw";
}

function showTab() {
  for (const tab of TABS) {
    const shown = tab === app.store.state.tab;
    $(`tab-${tab}`).ariaSelected = String(shown);
    $(`tab-${tab}`).tabIndex = shown ? 0 : -1;
    $(`room-${tab}`).hidden = !shown;
  }
}

/** A chosen or dropped folder is opened as the bundle; a dropped image is opened in the Draw tab. */
function wireFiles() {
  $("open").onclick = () => $("folder").click();
  $("folder").onchange = () => $("folder").files.length && load(() => Bundle.fromFiles([...$("folder").files]));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = [...event.dataTransfer.files];
    const folder = entries.find((entry) => entry.isDirectory);
    if (folder) load(async () => Bundle.fromFiles(await filesIn(folder)));
    else if (files.some((file) => file.name === "manifest.json")) load(() => Bundle.fromFiles(files));
    else if (files[0] && app.model) {
      app.store.set({ tab: "draw" });
      await rooms.draw.render();
      rooms.draw.dropped(files[0]);
    }
  });
}

/** The files of a dropped folder; browsers return at most a hundred per call. */
async function filesIn(folder) {
  const reader = folder.createReader();
  const files = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files;
    for (const entry of entries.filter((entry) => entry.isFile))
      files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
  }
}
