// The page as a whole: its language, its text size, the token, and then its two tools.

import { Refusal, ask, setToken } from "./asking.js";
import * as saving from "./saving.js";
import * as video from "./video.js";
import * as webcam from "./webcam.js";
import { choose, language, say, setInput } from "./words.js";

const $ = (id) => document.getElementById(id);

$("language").value = language();
$("language").addEventListener("change", () => { choose($("language").value); saving.show(); });
$("size").addEventListener("change", () => { document.documentElement.dataset.size = $("size").value; });
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("token").value);
  open(true);
});
choose(language());

// Who runs the server may hand out its address with the token behind #, which no server ever sees.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  setToken(given);
  history.replaceState(null, "", location.pathname);
}
let isOpen = false;
open(false);

/** What a language is called in that of the page. */
function named(code) {
  try {
    return new Intl.DisplayNames([language()], { type: "language" }).of(code);
  } catch {
    return code;
  }
}

async function open(asked) {
  say($("token-problem"), null);
  try {
    const models = await (await ask("/v1/models")).json();
    const [model] = models.data;
    say($("model"), "model", { id: model.id, language: named(model.language) });
    $("about").replaceChildren(...model.about.map((line) => {
      const row = document.createElement("li");
      row.textContent = line;
      return row;
    }));
    $("card").hidden = !model.about.length;
    $("card").open = true;
    setInput(model.input);
    if (!isOpen) {
      video.prepare(models);
      webcam.prepare(model);
      saving.prepare();
    }
    isOpen = true;
    $("token-form").hidden = true;
    $("tools").hidden = false;
    if (asked) $("file").focus();
  } catch (error) {
    if (error instanceof Refusal && error.status === 401) {
      $("token-form").hidden = false;
      if (asked) say($("token-problem"), "token_wrong");
      $("token").focus();
    } else {
      say($("model"), "lost");
    }
  }
}
