// The dead letters of a stream: how many are kept, and the last with what was wrong.

import { fetchDead } from "./lookups.js";
import { clock } from "./text.js";

export class DeadLetters {
  #asked = null; // stream and count of which the list is

  constructor(section) {
    this.section = section;
    this.list = section.querySelector("ul");
    this.title = section.querySelector("summary");
  }

  // Asked for anew when the daemon has counted others.
  async take(stream, count) {
    const asked = JSON.stringify([stream, count]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    const { kept, letters } = await fetchDead(stream).catch(() => ({ kept: 0, letters: [] }));
    if (asked !== this.#asked) return;
    this.section.hidden = !kept;
    this.title.textContent = `dead letters: ${kept} kept` + (kept > letters.length ? `, the last ${letters.length}` : "");
    this.list.replaceChildren(...letters.map(item));
  }
}

function item({ id = "", series = "", value = "", error = "" }) {
  const part = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });
  const row = document.createElement("li");
  row.append(part("span", `${clock(Number.parseInt(id, 10) || 0)} UTC, ${id} `), part("b", series), " ", part("code", value));
  row.append(part("p", error));
  return row;
}
