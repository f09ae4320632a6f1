// Texts that the user saves as a file, or keeps in this browser and deletes again.

import { say, t } from "./words.js";

const KEY = "unglossed.kept";
const TYPES = { srt: "application/x-subrip", vtt: "text/vtt", eaf: "application/xml", json: "application/json" };

/** Save a text as a file. */
export function save(name, form, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: `${TYPES[form]};charset=utf-8` }));
  link.download = `${name.replace(/\.[^.]*$/, "")}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

function write(kept) {
  if (kept.length) localStorage.setItem(KEY, JSON.stringify(kept));
  else localStorage.removeItem(KEY);
  show();
}

/** Keep texts, a form each, under a name; `status` says that it was done. */
export function keep(name, texts, status) {
  try {
    write([...read(), { id: crypto.randomUUID?.() ?? String(Math.random()), name, date: new Date().toISOString(), texts }]);
    say(status, "was_kept", { name });
  } catch {
    say(status, "kept_full");
  }
}

/** Show what is kept. */
export function show() {
  const list = document.getElementById("kept");
  const kept = read();
  document.getElementById("forget").hidden = kept.length === 0;
  list.replaceChildren(...kept.map((item) => {
    const row = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = `${item.name}, ${new Date(item.date).toLocaleString()}`;
    const buttons = document.createElement("p");
    buttons.className = "buttons";
    for (const [form, text] of Object.entries(item.texts)) {
      buttons.append(button(form.toUpperCase(), t("save_named", { name: item.name, form }), () => save(item.name, form, text)));
    }
    buttons.append(button(t("remove"), t("remove_named", { name: item.name }), () => {
      write(read().filter((other) => other.id !== item.id));
      document.getElementById("kept-title").focus();
    }));
    row.append(name, buttons);
    return row;
  }));
}

function button(text, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

export function prepare() {
  document.getElementById("kept-title").tabIndex = -1;
  document.getElementById("forget").addEventListener("click", () => {
    write([]);
    document.getElementById("kept-title").focus();
  });
  show();
}
