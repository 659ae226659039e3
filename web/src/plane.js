/** A map of the plane of two latents, with all others fixed: drag over it, or use the arrow keys. */

import { Latest } from "./latest.js";
import { toImageData } from "./pixels.js";

const REACH = 3; // the map extends to ± this many standard deviations
const TILES = 11; // tiles per side
const STEP = 0.1; // change per arrow key press

/** latents: gives the latents shown; shift: by how much of that a direction moves each, which edits do not hold. */
export function plane(app, latents, shift) {
  const box = document.getElementById("plane");
  const canvas = box.querySelector("canvas");
  const marker = box.querySelector(".marker");
  const choices = ["plane-x", "plane-y"].map((id) => document.getElementById(id));
  const latest = new Latest(app.fail);
  let offered = [0, 1];
  let drawn = "";

  const axes = () => {
    const chosen = app.store.state.axes ?? offered;
    return chosen.every((dim) => dim < app.model.latentDim) ? chosen : offered;
  };

  function move(x, y) {
    const [first, second] = axes();
    const clip = (value) => Math.max(-REACH, Math.min(REACH, value));
    const moved = shift();
    const edits = new Map(app.store.state.edits).set(first, clip(x) - moved[first]).set(second, clip(y) - moved[second]);
    app.store.set({ edits });
  }

  function toPoint(event) {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    move((2 * (event.clientX - left)) / width * REACH - REACH, REACH - (2 * (event.clientY - top)) / height * REACH);
  }
  box.onpointerdown = (event) => {
    box.setPointerCapture(event.pointerId);
    box.focus();
    toPoint(event);
  };
  box.onpointermove = (event) => box.hasPointerCapture(event.pointerId) && toPoint(event);
  box.onkeydown = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [z, [first, second]] = [latents(), axes()];
    const size = event.shiftKey ? 5 * STEP : STEP;
    move(z[first] + size * step[0], z[second] + size * step[1]);
  };
  choices.forEach((select, i) => {
    select.onchange = () => {
      const chosen = [...axes()];
      const dim = Number(select.value);
      if (chosen[1 - i] === dim) chosen[1 - i] = chosen[i]; // swap the two axes
      chosen[i] = dim;
      app.store.set({ axes: chosen });
    };
  });

  return {
    /** Fills the axis menus in index order, before it is known which latents are active. */
    setDimensions(latentDim) {
      offered = [0, Math.min(1, latentDim - 1)];
      drawn = "";
      fill(Array.from({ length: latentDim }, (_, i) => i));
      box.closest(".panel").hidden = latentDim < 2;
    },

    /** Sorts the axis menus. dims: all latents, the most active first. */
    offer(dims) {
      offered = dims.length > 1 ? [dims[0], dims[1]] : [0, 0];
      fill(dims);
      this.render(latents());
    },

    /** Draws the map and the marker. z: the latents shown. */
    render(z) {
      const [first, second] = axes();
      [choices[0].value, choices[1].value] = [first, second];
      marker.style.left = `${50 + (50 * Math.max(-REACH, Math.min(REACH, z[first]))) / REACH}%`;
      marker.style.top = `${50 - (50 * Math.max(-REACH, Math.min(REACH, z[second]))) / REACH}%`;
      box.setAttribute("aria-label", `Plane of latents ${first} and ${second}, now at ${z[first].toFixed(2)}, ${z[second].toFixed(2)}; arrow keys move`);
      const others = z.slice();
      [others[first], others[second]] = [0, 0];
      const wanted = `${app.model.bundle.metadata.pair_id} ${first} ${second} ${others.join()}`;
      if (wanted === drawn) return;
      drawn = wanted;
      latest.ask((stale) => draw(others, first, second, stale));
    },
  };

  function fill(dims) {
    for (const select of choices) select.replaceChildren(...dims.map((dim) => new Option(`z${dim}`, dim)));
  }

  async function draw(others, first, second, stale) {
    const model = app.model;
    await new Promise(requestAnimationFrame); // the main picture is drawn first
    for (let row = 0; row < TILES; row++) {
      if (stale() || model !== app.model) return;
      const z = new Float32Array(TILES * model.latentDim);
      for (let column = 0; column < TILES; column++) {
        z.set(others, column * model.latentDim);
        z[column * model.latentDim + first] = position(column);
        z[column * model.latentDim + second] = -position(row);
      }
      const pictures = await model.decode(z);
      if (canvas.width !== TILES * model.width || canvas.height !== TILES * model.height)
        [canvas.width, canvas.height] = [TILES * model.width, TILES * model.height];
      const context = canvas.getContext("2d");
      for (let column = 0; column < TILES; column++)
        context.putImageData(toImageData(model, pictures, column), column * model.width, row * model.height);
    }
    box.dataset.drawn = "true";
  }
}

/** The latent's value at the centre of a tile. */
function position(tile) {
  return REACH * ((2 * tile + 1) / TILES - 1);
}
