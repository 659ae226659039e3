/** Runs the bundle's golden values in this browser and measures the errors. */

import { toLevel } from "./pixels.js";

// |x - reference| / max(1, |reference|) of images and means, as in the export's parity check; deep graphs may err more.
const LARGEST_ERROR = 1e-5;
const LARGEST_DEEP_ERROR = { decoder: 1e-3, encoder: 1e-2 };
const LARGEST_LEVELS = 1; // of 255

/** What a browser is compared with: { golden, limits }, the golden values and the limit of each graph's floats. */
export async function readReference(bundle) {
  return { golden: readGolden(await bundle.file("golden.json")), limits: await certifiedLimits(bundle) };
}

/**
 * Runs the checks of all graphs in the bundle. Returns rows { name, figure, limit, passed }.
 * progress: called with the name of each check before it runs.
 */
export async function checkGolden(model, { golden, limits }, progress = () => {}) {
  const rows = [];
  const has = (graph) => model.bundle.has(graph);
  const add = async (name, limit, measure) => {
    progress(name);
    const { figure, passed } = await measure();
    rows.push({ name, figure, limit, passed });
  };
  const [seed] = golden.seed;
  const indices = [...golden.index];
  const labels = golden.label ? [...golden.label].map(Number) : indices.map(() => -1);

  await add("Latents of the seed", "every bit", () => {
    const rows = indices.map((index, i) => model.latents(seed, [index], 1, labels[i]));
    const found = new Uint32Array(Float32Array.from(rows.flatMap((row) => [...row])).buffer);
    const expected = new Uint32Array(golden.latents.buffer);
    const equal = found.filter((bits, i) => bits === expected[i]).length;
    return { figure: `${equal} of ${expected.length} equal`, passed: equal === expected.length };
  });
  progress("Decoder");
  rows.push(...(await checkDecoder(model, golden, limits)));
  if (has("sampler")) {
    await add("Sampler", "1 grey level", async () => difference(await model.sample(seed, indices, 1, labels), golden.sampler_image));
    await model.release("sampler");
  }
  if (has("encoder"))
    await add("Encoder", short(limits.encoder), async () => {
      const { mean, logVar } = await model.encode(golden.encoder_image);
      const [first, second] = [
        error(mean, golden.encoder_mean, limits.encoder),
        error(logVar, golden.encoder_log_var, limits.encoder),
      ];
      return first.value > second.value ? first : second;
    });
  if (has("reconstructor")) {
    await add("Reconstructor", "1 grey level", async () =>
      difference(await model.reconstruct(golden.reconstructor_image_in), golden.reconstructor_image_out),
    );
    await model.release("reconstructor");
  }
  return rows;
}

/** The rows of the decoder alone. provider: where it runs, "wasm" or "webgpu"; by default where the page runs it. */
export async function checkDecoder(model, { latents, decoder_image, sampler_image }, limits, provider) {
  const pictures = await model.decode(latents, provider);
  const levels = toRows(model, pictures.map(toLevel), latents.length / model.latentDim);
  return [
    { name: "Decoder", limit: short(limits.decoder), ...error(pictures, decoder_image, limits.decoder) },
    { name: "Pictures on screen", limit: "1 grey level", ...difference(levels, sampler_image) },
  ];
}

/** The bytes of golden.json as typed arrays by name. */
export function readGolden(bytes) {
  const types = { float32: Float32Array, uint8: Uint8Array, int64: BigInt64Array };
  const arrays = JSON.parse(new TextDecoder().decode(bytes));
  return Object.fromEntries(
    Object.entries(arrays).map(([name, { dtype, data }]) => [
      name,
      dtype === "int64" ? types.int64.from(data, BigInt) : types[dtype].from(data),
    ]),
  );
}

/** Graph → the limit that the parity check held its floats to, where that is above LARGEST_ERROR. */
async function certifiedLimits(bundle) {
  const limits = { decoder: LARGEST_ERROR, encoder: LARGEST_ERROR };
  if (!bundle.manifest.files["parity.json"]) return limits;
  const { measurements } = JSON.parse(new TextDecoder().decode(await bundle.file("parity.json")));
  for (const { graph, measure, limit } of measurements)
    if (graph in limits && measure === "relative error" && limit > limits[graph])
      limits[graph] = Math.min(limit, LARGEST_DEEP_ERROR[graph]);
  return limits;
}

const short = (limit) => `${Number(limit.toPrecision(2))}`;

function error(found, expected, limit) {
  const value = found.reduce((most, x, i) => worse(most, Math.abs(x - expected[i]) / Math.max(1, Math.abs(expected[i]))), 0);
  return { value, figure: value.toExponential(1), passed: value <= limit };
}

function difference(found, expected) {
  const value = found.reduce((most, x, i) => worse(most, Math.abs(x - expected[i])), 0);
  return { value, figure: `${value} grey level${value === 1 ? "" : "s"}`, passed: value <= LARGEST_LEVELS };
}

/** The larger value; NaN counts as largest. */
function worse(a, b) {
  return Number.isNaN(a) || a >= b ? a : b;
}

/** (N, C, H, W) → (N, H, W, C). */
function toRows(model, planes, count) {
  const { channels, size } = model;
  const plane = size / channels;
  const out = new Uint8Array(planes.length);
  for (let n = 0; n < count; n++)
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < plane; i++) out[n * size + i * channels + c] = planes[n * size + c * plane + i];
  return out;
}
