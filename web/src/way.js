/** Moving along a direction of the latent space: from the mean of one class, the picture's own or another, to that of a second. */

import { FULL_WAY } from "./state.js";

export function direction(app) {
  const [box, from, to, amount, value] = ["", "-from", "-to", "-amount", "-value"].map((part) => document.getElementById(`way${part}`));
  [amount.min, amount.max] = [-FULL_WAY, FULL_WAY];
  from.onchange = () => app.store.set({ wayFrom: Number(from.value) });
  to.onchange = () => app.store.set({ wayTo: Number(to.value), amount: app.store.state.amount || 1 });
  amount.oninput = () => app.store.set({ amount: Number(amount.value), wayTo: chosen().wayTo });

  /** The two ends, where the address names classes that this bundle has. */
  function chosen() {
    const { wayFrom, wayTo } = app.store.state;
    const { length } = app.model.classes;
    return { wayFrom: wayFrom < length ? wayFrom : -1, wayTo: wayTo >= 0 && wayTo < length ? wayTo : 0 };
  }

  return {
    /** Fills the menus with the names of classes; hidden where there are none. */
    offer(classes) {
      box.hidden = classes.length === 0;
      const options = classes.map((name, i) => [name, `${i}`]);
      from.replaceChildren(...[["its own class", "-1"], ...options].map((option) => new Option(...option)));
      to.replaceChildren(...options.map((option) => new Option(...option)));
    },

    show() {
      const { wayFrom, wayTo } = chosen();
      [from.value, to.value, amount.value] = [wayFrom, wayTo, app.store.state.amount];
      value.textContent = app.store.state.amount.toFixed(2);
    },

    /** How far each of the latents z, (L), moves: an array (L). */
    shift(z) {
      const { amount } = app.store.state;
      if (amount === 0 || app.model.classes.length === 0) return new Float64Array(z.length);
      const { wayFrom, wayTo } = chosen();
      return app.model.way(z, wayFrom, wayTo).map((step) => amount * step);
    },
  };
}
