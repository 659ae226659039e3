/** The Gallery tab: samples of a seed at a temperature. */

import { Latest } from "./latest.js";
import { pictureCanvas, savePng, show } from "./pixels.js";

const MORE = 60;

export function gallery(app) {
  const grid = document.getElementById("gallery-grid");
  const latest = new Latest(app.fail);
  document.getElementById("gallery-more").onclick = () => app.store.set({ count: Math.min(600, app.store.state.count + MORE) });
  document.getElementById("gallery-save").onclick = () => {
    const { seed, count } = app.store.state;
    savePng(`seed-${seed}.png`, [...grid.querySelectorAll("canvas")], Math.ceil(Math.sqrt(count)));
  };

  /** Draws what is missing, or everything where the seed, the temperature or the class changed. */
  return {
    keys: ["seed", "temperature", "label", "count"],
    render: () =>
      latest.ask(async (stale) => {
        const { seed, temperature, label, count } = app.store.state;
        const model = app.model;
        const drawn = `${model.bundle.metadata.pair_id} ${seed} ${temperature} ${label}`;
        const first = grid.dataset.drawn === drawn ? Math.min(grid.children.length, count) : 0;
        for (let start = first; start < count; start += MORE) {
          if (stale()) return;
          const indices = Array.from({ length: Math.min(MORE, count - start) }, (_, i) => BigInt(start + i));
          const pictures = await model.decode(model.latents(seed, indices, temperature, label));
          indices.forEach((index, i) => {
            const old = grid.children[start + i];
            if (old) show(old.firstChild, model, pictures, i);
            else grid.append(tile(pictureCanvas(model, pictures, i), index));
          });
        }
        while (grid.children.length > count) grid.lastChild.remove();
        grid.dataset.drawn = drawn;
        document.getElementById("gallery-more").disabled = count >= 600;
      }),
  };

  function tile(canvas, index) {
    const button = document.createElement("button");
    button.className = "tile";
    button.title = `Sample ${index}: open it`;
    button.setAttribute("aria-label", `Open sample ${index}`);
    button.append(canvas);
    button.onclick = () => app.store.set({ tab: "explore", index, edits: new Map() });
    return button;
  }
}
