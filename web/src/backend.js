/**
 * Loads the build of onnxruntime-web that fits the browser: WebAssembly alone, or the larger one with WebGPU too.
 *
 * The page's head runs this module first, so that the download starts before the rest of the page is read. A browser
 * without a GPU adapter loads what it needs and no more.
 */

const HERE = new URL(".", import.meta.url);
const WASM = { script: "vendor/ort.wasm.min.mjs", binary: "vendor/ort-wasm-simd-threaded.wasm" };
const WEBGPU = { script: "vendor/ort.jspi.min.mjs", binary: "vendor/ort-wasm-simd-threaded.jspi.wasm" };
const LONGEST_WAIT = 1000; // ms for an adapter; a driver that takes longer would keep the page blank

let build = obstacle().then((noGpu) => load(noGpu === null ? WEBGPU : WASM, noGpu));

/**
 * Promise of the build in use: { ort, noGpu, gpuFailed }.
 *
 * ort: onnxruntime-web. noGpu: why it has no WebGPU, as the end of a sentence; null where it has. gpuFailed: whether
 * the GPU has failed since, with `noGpu` as the reason.
 */
export const runtime = () => build;

/** Loads the build without WebGPU from now on, in place of one whose GPU has failed. why: as `noGpu`. */
export function withoutGpu(why) {
  build = build.then((old) => (old.gpuFailed ? load(WASM, why) : old));
  return build;
}

async function load({ script, binary }, noGpu) {
  const preload = Object.assign(document.createElement("link"), { rel: "preload", as: "fetch", crossOrigin: "" });
  preload.href = new URL(binary, HERE).href;
  document.head.append(preload);
  const ort = await import(new URL(script, HERE).href);
  ort.env.wasm.wasmPaths = new URL("vendor/", HERE).href;
  ort.env.wasm.numThreads = threads();
  ort.env.logLevel = "error";
  return { ort, noGpu, gpuFailed: false };
}

/** Why this page cannot use WebGPU, as the end of a sentence; null where it can try. */
async function obstacle() {
  if (new URLSearchParams(location.search).get("backend") === "wasm") return "as the address asks";
  if (!navigator.gpu) return "because this browser has no WebGPU";
  if (!("Suspending" in WebAssembly)) return "because WebGPU needs JavaScript Promise Integration, which this browser lacks";
  const late = new Promise((resolve) => setTimeout(resolve, LONGEST_WAIT, null));
  try {
    const adapter = await Promise.race([navigator.gpu.requestAdapter(), late]);
    return adapter === null ? "because this browser offers no GPU adapter" : null;
  } catch (error) {
    return `because this browser refuses a GPU adapter: ${error.message}`;
  }
}

/** Number of threads. More than 1 needs headers that few servers send (vae-web does), and helps only large models. */
function threads() {
  const asked = Number(new URLSearchParams(location.search).get("threads") ?? 1);
  return self.crossOriginIsolated ? Math.max(1, Math.min(asked, navigator.hardwareConcurrency)) : 1;
}

let last = Promise.resolve();

/** Runs a job of onnxruntime when those before it are done: while one waits for the GPU, a second would never return. */
export function inTurn(job) {
  const result = last.then(job);
  last = result.catch(() => {}); // whoever asked for that job is told
  return result;
}
