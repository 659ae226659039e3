// What test_conformance.py asks of a host, from generator.wasm: probe WASM LATENT_DIM PIXELS CLASSES LATENTS IMAGES SEED... -- INDEX...
import { readFileSync, writeFileSync } from "node:fs";

const [path, latentDim, pixelCount, classes, latentsFile, imagesFile, ...numbers] = process.argv.slice(2);
const vae = (await WebAssembly.instantiate(readFileSync(path))).instance.exports;
const z = (vae.__heap_base.value + 7) & ~7, pixels = z + 4 * Number(latentDim);
const missing = pixels + Number(pixelCount) - vae.memory.buffer.byteLength;
if (missing > 0) vae.memory.grow(Math.ceil(missing / 65536));
const split = numbers.indexOf("--");
const seeds = numbers.slice(0, split).map(BigInt), indices = numbers.slice(split + 1).map(BigInt);
const latents = [], images = [];
let code = vae.vae_self_test();
for (const seed of seeds) {
  for (const [place, index] of indices.entries()) {
    const label = BigInt((place % (Number(classes) + 1)) - 1); // any class, then each in turn
    code |= vae.vae_latents(seed, index, label, 1, z) | vae.vae_sample(seed, index, label, 1, pixels);
    latents.push(new Uint8Array(vae.memory.buffer, z, 4 * Number(latentDim)).slice());
    images.push(new Uint8Array(vae.memory.buffer, pixels, Number(pixelCount)).slice());
  }
}
const started = performance.now();
for (let i = 0; i < 200; i++) vae.vae_sample(0n, BigInt(i), -1n, 1, pixels);
const ms = (performance.now() - started) / 200;
writeFileSync(latentsFile, Buffer.concat(latents));
writeFileSync(imagesFile, Buffer.concat(images));
console.log(JSON.stringify({ ms, version: `Node ${process.versions.node}` }));
process.exitCode = code === 0 ? 0 : 1;
