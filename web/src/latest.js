/** One job at a time, and only the newest of those that wait: a drag asks for more pictures than anyone can see. */

export class Latest {
  #running = false;
  #next = null;

  /** onError: told what a job threw. */
  constructor(onError) {
    this.onError = onError;
  }

  /** Runs `job` (async) as soon as nothing else runs, unless a newer one comes first. job gets `stale()`. */
  async ask(job) {
    this.#next = job;
    if (this.#running) return;
    this.#running = true;
    while (this.#next) {
      const current = this.#next;
      this.#next = null;
      try {
        await current(() => this.#next !== null);
      } catch (error) {
        this.onError(error);
      }
    }
    this.#running = false;
  }
}
