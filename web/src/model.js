/** Runs a bundle's graphs in onnxruntime-web: latents to pictures, pictures to latents, and the noise of a seed. */

import * as ort from "./vendor/ort.wasm.min.mjs";
import { BundleError } from "./bundle.js";
import { Noise } from "./noise.js";
import { Prior } from "./prior.js";

const HERE = new URL(".", import.meta.url);
ort.env.wasm.wasmPaths = new URL("vendor/", HERE).href;
ort.env.wasm.numThreads = threads();
ort.env.logLevel = "error";

export const ORT_VERSION = ort.env.versions.common;
const BATCH = 64; // pictures per call: large enough for full speed, small enough to keep the page responsive

/** Number of threads. More than 1 needs headers that few servers send (vae-web does), and helps only large models. */
function threads() {
  const asked = Number(new URLSearchParams(location.search).get("threads") ?? 1);
  return self.crossOriginIsolated ? Math.max(1, Math.min(asked, navigator.hardwareConcurrency)) : 1;
}

let table; // the normal table, shared by all bundles

export class Model {
  #sessions = new Map();
  #noise;
  #prior = null;

  /** Opens the decoder; the other graphs are loaded on first use. */
  static async open(bundle) {
    const model = new Model();
    model.bundle = bundle;
    model.latentDim = bundle.metadata.latent_dim;
    [model.channels, model.height, model.width] = bundle.metadata.image_shape;
    model.size = model.channels * model.height * model.width;
    table ??= fetch(new URL("normal_table_v1.f32", HERE)).then((response) => {
      if (!response.ok) throw new Error("normal_table_v1.f32 is missing from the page's folder; build the page again");
      return response.arrayBuffer();
    });
    const [scores, prior] = await Promise.all([table, bundle.prior(), model.session("decoder")]);
    model.#noise = new Noise(scores);
    try {
      if (prior !== null) model.#prior = new Prior(prior, model.latentDim);
    } catch (error) {
      throw new BundleError(error.message);
    }
    // A wrong shape shows itself here, before anything is drawn.
    await model.decode(new Float32Array(model.latentDim));
    return model;
  }

  /** Names of the classes that samples can be drawn of; none where there are no labels, or no fitted prior. */
  get classes() {
    return this.#prior?.classes ?? [];
  }

  /** The way from the mean of class `from` to that of class `to`: Float64Array (L). from: -1 for the class of the latent z. */
  way(z, from, to) {
    const [start, end] = [from < 0 ? this.#prior.classOf(z) : from, to].map((label) => this.#prior.classMean(label));
    return end.map((value, i) => value - start[i]);
  }

  /** Latents of samples of a seed: Float32Array (N · L). seed, indices: BigInt; label: number of a class, others for any. */
  latents(seed, indices, temperature = 1, label = -1) {
    const noise = this.#noise.latents(seed, indices, this.latentDim, temperature);
    return this.#prior?.move(noise, seed, indices, label < this.classes.length ? label : -1) ?? noise;
  }

  /** Latents Float32Array (N · L) → pictures Float32Array (N · C · H · W) in [0, 1]. */
  async decode(z) {
    const count = z.length / this.latentDim;
    const pictures = new Float32Array(count * this.size);
    const batch = Math.min(BATCH, this.bundle.manifest.largest_batch ?? BATCH);
    for (let start = 0; start < count; start += batch) {
      const rows = z.subarray(start * this.latentDim, Math.min(count, start + batch) * this.latentDim);
      const input = new ort.Tensor("float32", rows, [rows.length / this.latentDim, this.latentDim]);
      const { image } = await this.run("decoder", { z: input });
      if (image.data.length !== input.dims[0] * this.size)
        throw new BundleError(
          `decoder.onnx: makes pictures of ${image.dims.slice(1).join("×")} ` +
            `where manifest.json says ${this.bundle.metadata.image_shape.join("×")}; run vae-export again`,
        );
      pictures.set(image.data, start * this.size);
      if (start + batch < count) await new Promise(requestAnimationFrame); // keeps the page responsive
    }
    return pictures;
  }

  /** Pictures Float32Array (N · C · H · W) in [0, 1] → posterior mean and log-variance, Float32Array (N · L) each. */
  async encode(pictures) {
    const dims = [pictures.length / this.size, this.channels, this.height, this.width];
    const { mean, log_var } = await this.run("encoder", { image: new ort.Tensor("float32", pictures, dims) });
    return { mean: mean.data, logVar: log_var.data };
  }

  /** Samples as the whole generator draws them: uint8 (N · H · W · C). labels: numbers of classes, one for each. */
  async sample(seed, indices, temperature = 1, labels = indices.map(() => -1)) {
    const label = new ort.Tensor("int64", [...labels].map(BigInt), [indices.length]);
    const { image } = await this.run("sampler", {
      seed: new ort.Tensor("int64", [seed], []),
      index: new ort.Tensor("int64", indices, [indices.length]),
      temperature: new ort.Tensor("float32", [temperature], []),
      ...(this.classes.length ? { label } : {}),
    });
    return image.data;
  }

  /** Pixels uint8 (N · H · W · C) → their reconstructions, in the same layout. */
  async reconstruct(pixels) {
    const dims = [pixels.length / this.size, this.height, this.width, this.channels];
    const { reconstruction } = await this.run("reconstructor", { image: new ort.Tensor("uint8", pixels, dims) });
    return reconstruction.data;
  }

  /** Runs a graph on named tensors. Throws BundleError if it fails. */
  async run(graph, inputs) {
    const session = await this.session(graph);
    try {
      return await session.run(inputs);
    } catch (error) {
      throw new BundleError(`${graph}.onnx: cannot run: ${error.message}; run vae-export again`);
    }
  }

  /** The onnxruntime session of a graph, opened once. */
  session(graph) {
    if (!this.#sessions.has(graph)) this.#sessions.set(graph, this.#load(graph));
    return this.#sessions.get(graph);
  }

  async #load(graph) {
    const bytes = await this.bundle.graph(graph);
    try {
      return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
    } catch (error) {
      throw new BundleError(`${graph}.onnx: onnxruntime cannot load it: ${error.message}; copy the bundle again`);
    }
  }

  /** Frees a graph that is not needed again. */
  async release(graph) {
    const session = this.#sessions.get(graph);
    this.#sessions.delete(graph);
    await (await session)?.release();
  }
}
