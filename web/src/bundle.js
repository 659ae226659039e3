/** Loads a bundle from the page's server or the visitor's disk and checks every file against the manifest. */

import { NOISE_VERSION } from "./noise.js";

/** A missing or damaged bundle; the message says what is wrong and how to fix it. */
export class BundleError extends Error {}

const FORMAT_VERSIONS = [1, 2]; // 2 has a fitted prior
const GRAPHS = ["decoder", "encoder", "sampler", "reconstructor"];
const PLAIN_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

export class Bundle {
  #read;

  constructor(place, manifest, read) {
    this.place = place;
    this.manifest = manifest;
    this.metadata = manifest.metadata;
    this.#read = read;
  }

  /** Opens a folder on the page's origin. Throws BundleError if it is missing, damaged or of another format version. */
  static async fromAddress(path) {
    const folder = new URL(path.endsWith("/") ? path : `${path}/`, document.baseURI);
    if (folder.origin !== location.origin)
      throw new BundleError(`${folder.href}: is on another origin; this page loads bundles only from its own`);
    return Bundle.#open(path, async (name) => {
      const response = await fetch(new URL(name, folder));
      if (!response.ok) throw new BundleError(`${path}: ${name} cannot be loaded (${response.status})`);
      return new Uint8Array(await response.arrayBuffer());
    });
  }

  /** Opens chosen or dropped files: an array of File. */
  static async fromFiles(files) {
    const byName = new Map(files.map((file) => [file.name, file]));
    const place = files[0]?.webkitRelativePath?.split("/")[0] || "the chosen folder";
    return Bundle.#open(place, async (name) => {
      if (!byName.has(name)) throw new BundleError(`${place}: contains no ${name}; choose a folder made by vae-export`);
      return new Uint8Array(await byName.get(name).arrayBuffer());
    });
  }

  static async #open(place, read) {
    const text = new TextDecoder().decode(await read("manifest.json"));
    return new Bundle(place, parseManifest(text), read);
  }

  /** Whether the bundle has this graph as an ONNX file. */
  has(graph) {
    return Boolean(this.manifest.graphs[graph]?.files.onnx);
  }

  /** The bytes of a graph's ONNX file, after checking them against the manifest and the bundle's pair id. */
  async graph(name) {
    if (!this.has(name)) throw new BundleError(`${this.place}: contains no ${name} as ONNX; run vae-export again`);
    const file = this.manifest.graphs[name].files.onnx;
    const bytes = await this.file(file);
    // Every graph contains the metadata as plain text; its pair id must be that of the manifest.
    if (!contains(bytes, `"pair_id": "${this.metadata.pair_id}"`))
      throw new BundleError(
        `${file}: belongs to another model than manifest.json (pair id ${this.metadata.pair_id}); ` +
          `the files come from different exports: run vae-export again`,
      );
    return bytes;
  }

  /** The text of prior.json, or null where samples are drawn from N(0, I). */
  async prior() {
    return this.manifest.format_version === 1 ? null : new TextDecoder().decode(await this.file("prior.json"));
  }

  /** The bytes of any file that the manifest lists. */
  async file(name) {
    const expected = this.manifest.files[name];
    if (!expected) throw new BundleError(`manifest.json: lists no ${name}; run vae-export again`);
    const bytes = await this.#read(name);
    if (bytes.length !== expected.bytes)
      throw new BundleError(
        `${name}: should be ${expected.bytes.toLocaleString("en")} bytes but is ${bytes.length.toLocaleString("en")}; ` +
          `copy the bundle again`,
      );
    // Browsers provide hashes only on https and localhost; elsewhere only size and pair id are checked.
    if (crypto.subtle && (await sha256(bytes)) !== expected.sha256)
      throw new BundleError(`${name}: its sha256 differs from the one in manifest.json; copy the bundle again`);
    return bytes;
  }
}

function parseManifest(text) {
  let root;
  try {
    root = JSON.parse(text);
  } catch (error) {
    throw new BundleError(`manifest.json: not valid JSON (${error.message}); run vae-export again`);
  }
  if (!FORMAT_VERSIONS.includes(root?.format_version))
    throw new BundleError(
      `manifest.json: format_version should be ${FORMAT_VERSIONS.join(" or ")} but is ${JSON.stringify(root?.format_version)}; ` +
        `run vae-export again`,
    );
  const { metadata, graphs, files } = root;
  const expect = (condition, what) => {
    if (!condition) throw new BundleError(`manifest.json: ${what}; run vae-export again`);
  };
  const size = (value) => Number.isInteger(value) && value > 0 && value <= 2 ** 20;
  expect(metadata && graphs && files, "should contain metadata, graphs and files");
  expect(size(metadata.latent_dim), "metadata.latent_dim should be a positive integer");
  const shape = metadata.image_shape;
  expect(Array.isArray(shape) && shape.length === 3 && shape.every(size), "metadata.image_shape should be three sizes");
  expect([1, 3].includes(shape[0]), `metadata.image_shape has ${shape[0]} channels where this page shows 1 or 3`);
  expect(
    metadata.noise_version === NOISE_VERSION,
    `noise_version is ${metadata.noise_version} but this page draws version ${NOISE_VERSION}`,
  );
  for (const name of GRAPHS.filter((name) => graphs[name])) {
    const file = graphs[name].files?.onnx;
    expect(file === undefined || (PLAIN_NAME.test(file) && files[file]), `graphs.${name} should name a listed file`);
  }
  return root;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether an ASCII text occurs in the bytes. Searches from the end, because the metadata is usually near it. */
function contains(bytes, text) {
  const wanted = new TextEncoder().encode(text);
  for (let at = bytes.lastIndexOf(wanted[0]); at >= 0; at = at ? bytes.lastIndexOf(wanted[0], at - 1) : -1)
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return true;
  return false;
}
