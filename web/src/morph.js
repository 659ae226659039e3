/** The Morph tab: interpolates between two samples along a great arc in latent space. */

import { Latest } from "./latest.js";
import { pictureCanvas, savePng, show } from "./pixels.js";
import { parseWhole } from "./state.js";

const FRAMES = 11; // pictures in the strip
const SECONDS = 3; // duration from one end to the other

export function morph(app) {
  const canvas = document.getElementById("morph-picture");
  const strip = document.getElementById("morph-strip");
  const play = document.getElementById("morph-play");
  const position = document.getElementById("morph-at");
  const ends = { from: document.getElementById("morph-from"), to: document.getElementById("morph-to") };
  const latest = new Latest(app.fail);
  const strips = new Latest(app.fail);
  let animation = null;
  let drawn = "";

  for (const [key, input] of Object.entries(ends))
    input.onchange = () => app.store.set({ [key]: parseWhole(input.value) ?? app.store.state[key] });
  position.oninput = () => {
    stop();
    app.store.set({ at: Number(position.value) });
  };
  play.onclick = () => (animation === null ? start() : stop());
  document.getElementById("morph-other").onclick = () => {
    const { to } = app.store.state;
    app.store.set({ from: to, to: to + 1n, at: 0 });
    if (animation === null) start();
  };
  document.getElementById("morph-save").onclick = () =>
    savePng(`seed-${app.store.state.seed}-${app.store.state.from}-to-${app.store.state.to}.png`, [...strip.querySelectorAll("canvas")], FRAMES);

  return { keys: ["seed", "temperature", "label", "from", "to", "at"], render, leave: stop };

  function latents(ats) {
    const { seed, temperature, label, from, to } = app.store.state;
    const [a, b] = [from, to].map((index) => app.model.latents(seed, [index], temperature, label));
    const z = new Float32Array(ats.length * a.length);
    ats.forEach((at, i) => z.set(between(a, b, at), i * a.length));
    return z;
  }

  function render() {
    const { at, from, to, seed, temperature, label } = app.store.state;
    [ends.from.value, ends.to.value, position.value] = [from, to, at];
    canvas.setAttribute("aria-label", `Between samples ${from} and ${to} of seed ${seed}, at ${Math.round(100 * at)} %`);
    const wanted = `${app.model.bundle.metadata.pair_id} ${seed} ${temperature} ${label} ${from} ${to}`;
    if (wanted !== drawn) {
      drawn = wanted;
      strips.ask(async () => {
        const ats = Array.from({ length: FRAMES }, (_, i) => i / (FRAMES - 1));
        const pictures = await app.model.decode(latents(ats));
        strip.replaceChildren(...ats.map((at, i) => frame(pictureCanvas(app.model, pictures, i), at)));
      });
    }
    return latest.ask(async () => show(canvas, app.model, await app.model.decode(latents([app.store.state.at]))));
  }

  function frame(picture, at) {
    const button = document.createElement("button");
    button.className = "tile";
    button.setAttribute("aria-label", `Go to ${Math.round(100 * at)} %`);
    button.append(picture);
    button.onclick = () => {
      stop();
      app.store.set({ at });
    };
    return button;
  }

  function start() {
    const origin = performance.now() - SECONDS * 1000 * app.store.state.at;
    const tick = (now) => {
      const phase = ((now - origin) / (SECONDS * 1000)) % 2; // there and back again
      app.store.set({ at: Math.max(0, phase > 1 ? 2 - phase : phase) });
      animation = requestAnimationFrame(tick);
    };
    animation = requestAnimationFrame(tick);
    [play.textContent, play.ariaPressed] = ["Pause", "true"];
  }

  function stop() {
    cancelAnimationFrame(animation);
    animation = null;
    [play.textContent, play.ariaPressed] = ["Play", "false"];
  }
}

/**
 * Spherical interpolation: a straight line between two latents passes closer to the origin than samples do, and its
 * pictures are blurred. Falls back to the line where the two are parallel.
 */
export function between(a, b, at) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
  const bend = Math.sin(angle);
  const straight = !(bend > 1e-6); // also where a latent is 0 and there is no angle
  const [first, second] = straight ? [1 - at, at] : [Math.sin((1 - at) * angle) / bend, Math.sin(at * angle) / bend];
  return a.map((value, i) => first * value + second * b[i]);
}
