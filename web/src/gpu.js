/** Moves a model's decoder to the GPU if its golden values pass there, and says why not where they don't. */

import { checkDecoder } from "./golden.js";

/**
 * Leaves the decoder where it is, and `model.whyWasm` says why, unless every check of the decoder passes on the GPU.
 * golden, limits: as of `readReference`.
 */
export async function tryGpu(model, { golden, limits }) {
  try {
    for (const count of batches(model, golden)) {
      const repeated = repeat(model, golden, count);
      const failed = (await checkDecoder(model, repeated, limits, "webgpu")).find((row) => !row.passed);
      if (failed) return model.stayInWasm(`because WebGPU fails the check "${failed.name}": ${failed.figure}, limit ${failed.limit}`);
    }
  } catch (error) {
    return model.leaveGpu(`because WebGPU fails: ${(error.cause ?? error).message}`);
  }
  if (model.whyWasm === null) model.provider = "webgpu"; // not lost in the meantime
}

/** Numbers of rows: shaders differ with them, so the golden values also run as one row and as a full batch. */
function batches(model, golden) {
  return [golden.latents.length / model.latentDim, 1, model.batch];
}

/** Golden latents and their pictures, from the first on, repeated to `count` rows. */
function repeat({ latentDim, size }, golden, count) {
  const rows = golden.latents.length / latentDim;
  const fill = (array, width) =>
    array.constructor.from({ length: count * width }, (_, i) => array[(Math.floor(i / width) % rows) * width + (i % width)]);
  return {
    latents: fill(golden.latents, latentDim),
    decoder_image: fill(golden.decoder_image, size),
    sampler_image: fill(golden.sampler_image, size),
  };
}
