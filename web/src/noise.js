/**
 * Noise version 1 in JavaScript: seed and index to latents, bit-identical to every other host.
 *
 * Philox4x32-10 (Salmon et al. 2011) generates 32-bit words; a table of 65,536 normal scores turns them into normal
 * numbers. JavaScript's integers are exact only up to 2**53, so products are computed from 16-bit halves. The float
 * addition and multiplication are rounded to float32 by Math.fround.
 */

export const NOISE_VERSION = 1;
export const LARGEST = 2n ** 63n - 1n; // largest seed and index
const SQRT_HALF = Math.fround(Math.SQRT1_2);

/** Philox4x32-10: counter and key as unsigned 32-bit words, four words out. */
export function philox4x32([c0, c1, c2, c3], [k0, k1]) {
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The upper 32 bits of a product of two unsigned 32-bit words. */
function multiplyHigh(a, b) {
  const [aHigh, aLow, bHigh, bLow] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16); // below 2**32
  const carry = (middle & 0xffff) + aLow * bHigh; // below 2**32
  return (aHigh * bHigh + (middle >>> 16) + (carry >>> 16)) >>> 0;
}

export class Noise {
  #scores;

  /** table: the bytes of normal_table_v1.f32 (ArrayBuffer), 65,536 little-endian float32. */
  constructor(table) {
    if (table.byteLength !== 4 * 65536)
      throw new Error(`normal_table_v1.f32 should be 262,144 bytes but is ${table.byteLength}; build the page again`);
    const view = new DataView(table);
    this.#scores = Float32Array.from({ length: 65536 }, (_, i) => view.getFloat32(4 * i, true));
  }

  /**
   * Latents of samples `indices` of `seed`: Float32Array, row after row of `latentDim`, standard normal times `temperature`.
   * seed, indices: BigInt, 0 … 2**63 - 1.
   */
  latents(seed, indices, latentDim, temperature = 1) {
    const z = new Float32Array(indices.length * latentDim);
    const key = words(seed);
    const scale = Math.fround(temperature);
    indices.forEach((index, row) => {
      const counter = words(index);
      for (let block = 0; 4 * block < latentDim; block++) {
        const random = philox4x32([...counter, block, 0], key); // stream 0 is the prior
        for (let i = 4 * block; i < Math.min(latentDim, 4 * block + 4); i++) {
          const word = random[i % 4];
          const sum = Math.fround(this.#scores[word & 0xffff] + this.#scores[word >>> 16]);
          z[row * latentDim + i] = Math.fround(sum * SQRT_HALF) * scale;
        }
      }
    });
    return z;
  }
}

/** A 63-bit number as its low and its high 32 bits. */
export function words(number) {
  if (number < 0n || number > LARGEST) throw new RangeError(`${number} should be from 0 to 2**63 - 1`);
  return [Number(number & 0xffffffffn), Number(number >> 32n)];
}
