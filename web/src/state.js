/** The state of the page, stored in its address, so that a link shows the same picture. */

import { LARGEST } from "./noise.js";

export const TABS = ["gallery", "explore", "morph", "draw"];
export const HOTTEST = 2; // highest temperature
export const FULL_WAY = 1.5; // how far a direction is followed, to either side; 1 is from one class's mean to the other's
export const FARTHEST = 4; // largest absolute value of a latent, in standard deviations
const MOST = 600; // largest number of pictures in the gallery

const START = { tab: "gallery", seed: 0n, temperature: 1, label: -1, count: 60, index: 0n, edits: new Map(), axes: null, wayFrom: -1, wayTo: -1, amount: 0, from: 0n, to: 1n, at: 0.5 };

/** Reads the state from an address's hash; invalid parts keep their default values. */
export function readAddress(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const whole = (key, otherwise) => parseWhole(given.get(key) ?? "") ?? otherwise;
  const number = (key, low, high, otherwise) => parseNumber(given.get(key), low, high) ?? otherwise;
  const edits = new Map();
  for (const pair of (given.get("edits") ?? "").split(",")) {
    const [dim, value] = pair.split(":");
    const [i, z] = [parseNumber(dim, 0, 2 ** 20), parseNumber(value, -1000, 1000)];
    if (Number.isInteger(i) && z !== null) edits.set(i, z);
  }
  const axes = (given.get("axes") ?? "").split(",").map((dim) => parseNumber(dim, 0, 2 ** 20));
  return {
    tab: TABS.includes(given.get("tab")) ? given.get("tab") : START.tab,
    seed: whole("seed", START.seed),
    temperature: number("t", 0, HOTTEST, START.temperature),
    label: Math.round(number("class", 0, 65535, START.label)),
    count: Math.round(number("n", 1, MOST, START.count)),
    index: whole("index", START.index),
    edits,
    axes: axes.length === 2 && axes.every(Number.isInteger) && axes[0] !== axes[1] ? axes : START.axes,
    wayFrom: Math.round(number("start", 0, 65535, START.wayFrom)),
    wayTo: Math.round(number("toward", 0, 65535, START.wayTo)),
    amount: number("amount", -FULL_WAY, FULL_WAY, START.amount),
    from: whole("from", START.from),
    to: whole("to", START.to),
    at: number("at", 0, 1, START.at),
  };
}

/** Writes a state as an address hash: the tab's parameters that differ from their defaults. */
export function toAddress(state) {
  const out = new URLSearchParams();
  const put = (key, value, otherwise) => value !== otherwise && out.set(key, `${value}`);
  put("tab", state.tab, "");
  put("seed", state.seed, START.seed);
  put("t", state.temperature, START.temperature);
  put("class", state.label, START.label);
  if (state.tab === "gallery") put("n", state.count, START.count);
  if (state.tab === "explore") {
    put("index", state.index, START.index);
    put("edits", [...state.edits].map(([dim, z]) => `${dim}:${+z.toFixed(4)}`).join(","), "");
    if (state.axes) put("axes", state.axes.join(","), "");
    put("start", state.wayFrom, START.wayFrom);
    put("toward", state.wayTo, START.wayTo);
    put("amount", +state.amount.toFixed(3), START.amount);
  }
  if (state.tab === "morph") {
    put("from", state.from, START.from);
    put("to", state.to, START.to);
    put("at", +state.at.toFixed(3), START.at);
  }
  return `#${out.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}`;
}

/** Parses a seed or an index to BigInt; null if the text is not one. */
export function parseWhole(text) {
  const number = /^\d{1,19}$/.test(text.trim()) ? BigInt(text.trim()) : null;
  return number !== null && number <= LARGEST ? number : null;
}

function parseNumber(text, low, high) {
  const number = text?.trim() ? Number(text) : NaN;
  return Number.isFinite(number) && number >= low && number <= high ? number : null;
}

/** Keeps the state in sync with the address and notifies listeners of changes. */
export class Store {
  #listeners = [];
  #pending = null;

  constructor() {
    this.state = readAddress(location.hash);
    addEventListener("hashchange", () => {
      if (location.hash !== toAddress(this.state)) this.set(readAddress(location.hash));
    });
  }

  /** Adds a listener, which is called with the state and the changed keys. */
  listen(listener) {
    this.#listeners.push(listener);
  }

  set(changes) {
    const keys = new Set(Object.keys(changes));
    Object.assign(this.state, changes);
    for (const listener of this.#listeners) listener(this.state, keys);
    // Browsers allow a hundred address changes in ten seconds; dragging would exceed that.
    this.#pending ??= setTimeout(() => {
      this.#pending = null;
      history.replaceState(null, "", toAddress(this.state));
    }, 200);
  }

  /** The address for the current state. */
  link() {
    return `${location.href.split("#")[0]}${toAddress(this.state)}`;
  }
}
