// probe.c for WebAssembly: node probe.mjs generator.wasm LATENT_DIM PIXELS, to standard output.
import { readFileSync, writeSync } from "node:fs";

const [path, latentDim, pixelCount] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const { instance } = await WebAssembly.instantiate(readFileSync(path), {});
const vae = instance.exports;
const IMAGES = 21;
let free = vae.__heap_base.value;

function reserve(bytes) {
  const address = free;
  free += (bytes + 15) & ~15;
  while (free > vae.memory.buffer.byteLength) vae.memory.grow(16);
  return address;
}
function put(address, bytes) {
  const copy = Buffer.from(new Uint8Array(vae.memory.buffer, address, bytes));
  for (let done = 0; done < bytes; ) done += writeSync(1, copy, done);
}
function putCode(code) {
  writeSync(1, Buffer.from(new Int32Array([code]).buffer));
}

const indices = reserve(8 * IMAGES), z = reserve(4 * IMAGES * latentDim), pixels = reserve(IMAGES * pixelCount);
const images = reserve(4 * IMAGES * pixelCount), mean = reserve(4 * latentDim), logVar = reserve(4 * latentDim);
const reconstruction = reserve(pixelCount), image = reserve(4 * pixelCount);
const numbers = Array.from({ length: IMAGES }, (_, i) => 4294967291n + 7919n * BigInt(i));
new BigUint64Array(vae.memory.buffer, indices, IMAGES).set(numbers);
let codes = vae.vae_self_test() | vae.vae_sample_batch(5n, indices, IMAGES, -1n, 1.25, pixels);
for (let i = 0; i < IMAGES; i++) codes |= vae.vae_latents(5n, numbers[i], -1n, 1.25, z + 4 * i * latentDim);
putCode(codes | vae.vae_decode_batch(z, IMAGES, images));
put(z, 4 * IMAGES * latentDim);
put(pixels, IMAGES * pixelCount);
put(images, 4 * IMAGES * pixelCount);
for (let i = 0; i < 3; i++) {
  const codes = vae.vae_encode(images + 4 * i * pixelCount, mean, logVar);
  putCode(codes | vae.vae_reconstruct(pixels + i * pixelCount, reconstruction));
  put(mean, 4 * latentDim);
  put(logVar, 4 * latentDim);
  put(reconstruction, pixelCount);
  putCode(vae.vae_sample(5n, numbers[i], -1n, 1.25, reconstruction) | vae.vae_decode(z + 4 * i * latentDim, image));
  put(reconstruction, pixelCount);
  put(image, 4 * pixelCount);
}
