/** Runs a bundle's graphs in onnxruntime-web: latents to pictures, pictures to latents, and the noise of a seed. */

import { inTurn, runtime, withoutGpu } from "./backend.js";
import { BundleError } from "./bundle.js";
import { Noise } from "./noise.js";
import { Prior } from "./prior.js";

const HERE = new URL(".", import.meta.url);
const BATCH = 64; // pictures per call: large enough for full speed, small enough to keep the page responsive

let table; // the normal table, shared by all bundles

export class Model {
  #sessions = new Map();
  #noise;
  #prior = null;
  #build; // of onnxruntime-web, see backend.js
  #decoder = null; // promise of the decoder's bytes, which may be opened on the GPU too

  /** Where the decoder runs: "wasm" or "webgpu". */
  provider = "wasm";
  /** Why the decoder runs in WebAssembly, as the end of a sentence; null where WebGPU is in use or still to be tried. */
  whyWasm = null;
  /** Called when the decoder has gone from the GPU back to WebAssembly. */
  onFallback = () => {};

  /** Opens the decoder; the other graphs are loaded on first use. */
  static async open(bundle) {
    const model = new Model();
    model.#build = await runtime();
    model.whyWasm = model.#build.noGpu;
    model.bundle = bundle;
    model.batch = Math.min(BATCH, bundle.manifest.largest_batch ?? BATCH);
    model.latentDim = bundle.metadata.latent_dim;
    [model.channels, model.height, model.width] = bundle.metadata.image_shape;
    model.size = model.channels * model.height * model.width;
    table ??= fetch(new URL("normal_table_v1.f32", HERE)).then((response) => {
      if (!response.ok) throw new Error("normal_table_v1.f32 is missing from the page's folder; build the page again");
      return response.arrayBuffer();
    });
    // A wrong shape shows itself here, before anything is drawn.
    const first = model.decode(new Float32Array(model.latentDim));
    const [scores, prior] = await Promise.all([table, bundle.prior(), first]);
    model.#noise = new Noise(scores);
    try {
      if (prior !== null) model.#prior = new Prior(prior, model.latentDim);
    } catch (error) {
      throw new BundleError(error.message);
    }
    return model;
  }

  /** Version of onnxruntime-web. */
  get ortVersion() {
    return this.#build.ort.env.versions.common;
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

  /**
   * Latents Float32Array (N · L) → pictures Float32Array (N · C · H · W) in [0, 1].
   * provider: where to try it, "wasm" or "webgpu", with an Error where it fails; without it, a GPU that fails is left.
   */
  async decode(z, provider = null) {
    const { batch } = this;
    const count = z.length / this.latentDim;
    const pictures = new Float32Array(count * this.size);
    for (let start = 0; start < count; start += batch) {
      const rows = z.subarray(start * this.latentDim, Math.min(count, start + batch) * this.latentDim);
      const input = this.#tensor("float32", rows, [rows.length / this.latentDim, this.latentDim]);
      const { image } = await (provider ? this.run("decoder", { z: input }, provider) : this.#runDecoder({ z: input }));
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
    const { mean, log_var } = await this.run("encoder", { image: this.#tensor("float32", pictures, dims) });
    return { mean: mean.data, logVar: log_var.data };
  }

  /** Samples as the whole generator draws them: uint8 (N · H · W · C). labels: numbers of classes, one for each. */
  async sample(seed, indices, temperature = 1, labels = indices.map(() => -1)) {
    const label = this.#tensor("int64", [...labels].map(BigInt), [indices.length]);
    const { image } = await this.run("sampler", {
      seed: this.#tensor("int64", [seed], []),
      index: this.#tensor("int64", indices, [indices.length]),
      temperature: this.#tensor("float32", [temperature], []),
      ...(this.classes.length ? { label } : {}),
    });
    return image.data;
  }

  /** Pixels uint8 (N · H · W · C) → their reconstructions, in the same layout. */
  async reconstruct(pixels) {
    const dims = [pixels.length / this.size, this.height, this.width, this.channels];
    const { reconstruction } = await this.run("reconstructor", { image: this.#tensor("uint8", pixels, dims) });
    return reconstruction.data;
  }

  /** Runs the decoder on the GPU if it is in use; in WebAssembly otherwise, and where the GPU fails. */
  async #runDecoder(inputs) {
    if (this.provider === "webgpu")
      try {
        return await this.run("decoder", inputs, "webgpu");
      } catch (error) {
        this.leaveGpu(`because WebGPU failed: ${error.cause.message}`);
      }
    return this.run("decoder", inputs);
  }

  /** Keeps the decoder in WebAssembly, or takes it back there. why: as in `whyWasm`. */
  stayInWasm(why) {
    if (this.whyWasm !== null) return;
    this.whyWasm = why;
    if (this.provider === "wasm") return;
    this.provider = "wasm";
    this.onFallback();
  }

  /** Uses no GPU again on this page. why: as in `whyWasm`. */
  leaveGpu(why) {
    if (this.#build.noGpu === null) Object.assign(this.#build, { noGpu: why, gpuFailed: true });
    this.stayInWasm(why);
  }

  /** Runs a graph on named tensors. Throws BundleError if it fails. */
  async run(graph, inputs, provider = "wasm") {
    const used = this.#build;
    try {
      return await this.#runOnce(graph, inputs, provider);
    } catch (error) {
      if (provider === "webgpu" || !used.gpuFailed) throw error;
      // Where the browser grants no device, onnxruntime-web 1.30 opens no further graph, not even in WebAssembly.
      const fresh = await withoutGpu(used.noGpu);
      if (this.#build === used) {
        this.#build = fresh;
        this.#sessions.clear();
      }
      return this.#runOnce(graph, inputs, provider);
    }
  }

  async #runOnce(graph, inputs, provider) {
    const session = await this.session(graph, provider);
    try {
      return await inTurn(() => session.run(inputs));
    } catch (error) {
      throw new BundleError(`${graph}.onnx: cannot run: ${error.message}; run vae-export again`, { cause: error });
    }
  }

  #tensor(...given) {
    return new this.#build.ort.Tensor(...given);
  }

  /** The onnxruntime session of a graph on "wasm" or "webgpu", opened once. */
  session(graph, provider = "wasm") {
    const key = `${graph} ${provider}`;
    if (!this.#sessions.has(key)) this.#sessions.set(key, this.#load(graph, provider));
    return this.#sessions.get(key);
  }

  async #load(graph, provider) {
    if (graph === "decoder") this.#decoder ??= this.bundle.graph(graph);
    const bytes = await (graph === "decoder" ? this.#decoder : this.bundle.graph(graph));
    try {
      // Errors alone: that shapes of a graph on the GPU are computed on the CPU is no news for the console.
      const options = { executionProviders: [provider], graphOptimizationLevel: "all", logSeverityLevel: 3 };
      const { ort } = this.#build;
      const session = await inTurn(() => ort.InferenceSession.create(bytes, options));
      if (provider === "webgpu") this.#watch(await ort.env.webgpu.device);
      return session;
    } catch (error) {
      throw new BundleError(`${graph}.onnx: onnxruntime cannot load it: ${error.message}; copy the bundle again`, { cause: error });
    }
  }

  /** Leaves the GPU as soon as its device is lost, which a driver's update or the computer's sleep may cause. */
  #watch(device) {
    device.lost.then(({ message }) => this.leaveGpu(`because the browser lost the GPU: ${message}`));
  }

  /** Frees a graph in WebAssembly that is not needed again. */
  async release(graph) {
    const key = `${graph} wasm`;
    const session = await this.#sessions.get(key);
    this.#sessions.delete(key);
    await inTurn(() => session?.release());
  }
}
