/**
 * Prior version 1 in JavaScript: a mixture of Gaussians in place of N(0, I), the same bits as in every other host.
 *
 * Alias tables choose a component by one random word of stream 2, in whole numbers. The latent is
 * (noise + shift) * scale, each step rounded to float32 by Math.fround.
 */

import { philox4x32, words } from "./noise.js";

const ANY = -1; // the label of a sample of any class
const COMPONENT_STREAM = 2;
const FULL = 65536; // the largest threshold
const ARRAYS = { shift: Float32Array, scale: Float32Array, component_class: Int32Array, thresholds: Uint32Array, aliases: Uint32Array };

export class Prior {
  /** text: of prior.json. Throws Error, in one sentence, where its arrays do not fit together. */
  constructor(text, latentDim) {
    const root = JSON.parse(text);
    const expect = (condition, what) => {
      if (!condition) throw new Error(`prior.json: ${what}; run vae-export again`);
    };
    expect(root?.version === 1 && root.kind === "mixture", "should be a mixture of version 1");
    expect(Array.isArray(root.classes) && root.classes.every((name) => typeof name === "string"), "should name its classes");
    for (const [name, type] of Object.entries(ARRAYS)) {
      expect(Array.isArray(root[name]?.data), `should hold ${name}`);
      expect(root[name].data.every(Number.isFinite), `${name} should hold finite numbers`);
      this[name] = type.from(root[name].data);
    }
    this.classes = root.classes;
    this.latentDim = latentDim;
    const components = this.component_class.length;
    const rows = 1 + this.classes.length;
    this.slots = this.thresholds.length / rows;
    expect(components > 0 && this.shift.length === components * latentDim, `should have ${latentDim} latents`);
    expect(this.scale.length === this.shift.length && this.scale.every((value) => value > 0), "scale should be above 0");
    expect(this.slots >= 2 && Number.isInteger(Math.log2(this.slots)), "slots should be a power of two");
    expect(this.aliases.length === this.thresholds.length, "thresholds and aliases should be of one size");
    this.thresholds.forEach((threshold, place) => {
      const own = threshold === 0 || place % this.slots < components;
      expect(threshold <= FULL && own && (threshold === FULL || this.aliases[place] < components), "tables draw what is not there");
    });
  }

  /** Component of a sample. seed, index: BigInt; label: number of a class, or -1 for any. */
  component(seed, index, label = ANY) {
    const [word] = philox4x32([...words(index), 0, COMPONENT_STREAM], words(seed));
    const slot = word >>> (32 - Math.log2(this.slots));
    const place = (label + 1) * this.slots + slot;
    return (word & 0xffff) < this.thresholds[place] ? slot : this.aliases[place];
  }

  /** What the tables draw each component of a class with, exactly: Float64Array (K). */
  probabilities(label) {
    const shares = new Float64Array(this.component_class.length);
    const row = (label + 1) * this.slots;
    for (let slot = 0; slot < this.slots; slot++) {
      const own = this.thresholds[row + slot];
      if (own > 0) shares[slot] += own / (FULL * this.slots);
      if (own < FULL) shares[this.aliases[row + slot]] += (FULL - own) / (FULL * this.slots);
    }
    return shares;
  }

  /** Mean latent of a class: Float64Array (L). */
  classMean(label) {
    const mean = new Float64Array(this.latentDim);
    this.probabilities(label).forEach((share, k) => {
      for (let i = 0; i < this.latentDim; i++) {
        const at = k * this.latentDim + i;
        mean[i] += share * this.shift[at] * this.scale[at];
      }
    });
    return mean;
  }

  /** Number of the class under which a latent z, (L), is most likely: the class of the largest density. */
  classOf(z) {
    const scores = Array.from(this.component_class, (_, k) => {
      let sum = 0;
      for (let i = 0; i < this.latentDim; i++) {
        const at = k * this.latentDim + i;
        sum -= (z[i] / this.scale[at] - this.shift[at]) ** 2 / 2 + Math.log(this.scale[at]);
      }
      return sum;
    });
    const byClass = this.classes.map((_, label) => {
      const terms = Array.from(this.probabilities(label), (share, k) => Math.log(share) + scores[k]);
      const most = Math.max(...terms);
      return most + Math.log(terms.reduce((sum, term) => sum + Math.exp(term - most), 0));
    });
    return byClass.indexOf(Math.max(...byClass));
  }

  /** Moves noise, already times the temperature, to the places of its samples' components: Float32Array (N · L), in place. */
  move(noise, seed, indices, label = ANY) {
    indices.forEach((index, row) => {
      const from = this.component(seed, index, label) * this.latentDim;
      for (let i = 0; i < this.latentDim; i++) {
        const at = row * this.latentDim + i;
        noise[at] = Math.fround(noise[at] + this.shift[from + i]) * this.scale[from + i];
      }
    });
    return noise;
  }
}
