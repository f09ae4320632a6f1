// The texts of the page in its two languages, and how they get into it.

const TEXTS = {
  en: {
    skip: "Skip to the content",
    title: "Sign language translation",
    language: "Language",
    size: "Text size",
    limits: "Before you use it",
    limit_machine: "This is a machine's translation and no interpreter. Do not use it for anything medical, legal or urgent.",
    limit_training: "It knows the sign language, the signers and the topics of its training, and no others. What lies outside comes out wrong, and may sound right.",
    title_audio: "Speech to text",
    file_audio: "A recording",
    file_choose_audio: "Choose audio or a video, or drop it here",
    limit_training_audio: "It knows the languages, the voices and the topics of its training, and no others. What lies outside comes out wrong, and may sound right.",
    limit_deaf_audio: "Ask who runs this page for its model card: it names the corpora, their consent and their licences.",
    limit_identity_audio: "A voice identifies a person. Ask those who can be heard before you use a recording of them.",
    limit_deaf: "Unless its model card says otherwise, no Deaf people have evaluated it. Ask who runs this page for the card: it names the corpora, their consent and their licences.",
    limit_store: "Your video goes to the machine that runs this page and nowhere else. It is deleted there once it has been translated. Text is kept only if you ask, in this browser, and you can delete it below.",
    limit_identity: "Signing identifies a person, also without the face. Ask those who can be seen before you use a video of them.",
    card: "What its card says of its training",
    model: "Model: {id}. It writes: {language}.",
    token: "Token of this server",
    token_send: "Use it",
    token_wrong: "This is not the server's token.",
    file: "A video",
    file_choose: "Choose a video, or drop it here",
    bounds: "At most {megabytes} MB and {minutes} minutes.",
    too_large: "The file has {found} MB, the server takes at most {most} MB.",
    cancel: "Cancel",
    sending: "Sending the video: {percent} %",
    waiting: "Waiting for its turn",
    running: "Translating: {percent} %",
    finished: "Done: {count} sentences",
    one_finished: "Done: 1 sentence",
    cancelled: "Cancelled. Nothing of it is left on the server.",
    busy: "The server is busy. Trying again in {seconds} seconds.",
    again: "The connection was lost. Trying again.",
    lost: "The server cannot be reached.",
    failed: "This did not work: {message}",
    unplayable: "Your browser cannot show this kind of video. The sentences are here all the same.",
    sentences: "Sentences",
    nothing: "No sentence was found in this video.",
    confidence: "Confidence {percent} %",
    unsure: "uncertain",
    not_understood: "[not understood]",
    words: "What it looked at",
    frame: "{time}, weight {percent} %",
    downloads: "Downloads",
    keep: "Keep in this browser",
    clear: "Clear",
    webcam: "Webcam",
    start: "Start live captions",
    stop: "Stop",
    camera: "Your camera",
    delay: "Behind the camera:",
    seconds: "{seconds} s",
    captions: "Captions",
    live_on: "Live. Grey text may still change, the other stays.",
    live_ending: "The last sentence is being translated.",
    live_off: "Stopped.",
    no_camera: "The camera cannot be used: {message}",
    camera_denied: "The camera may not be used: allow it in the browser's settings for this page.",
    camera_none: "No camera was found.",
    camera_taken: "The camera is used by another program.",
    needs_https: "a browser allows it on https addresses and on this machine alone",
    save: "Save the captions",
    kept: "Kept in this browser",
    kept_about: "Only text that you asked to keep. It lies in this browser and nowhere else.",
    kept_full: "The browser has no room for more.",
    was_kept: "Kept: {name}",
    remove: "Delete",
    remove_named: "Delete {name}",
    save_named: "Save {name} as {form}",
    forget: "Delete all",
    live_name: "Live captions",
    problem_not_media: "This is no video or audio file that can be read here.",
    problem_unreadable: "This file is damaged, or cannot be read here.",
    problem_too_large: "This file is larger than the server takes.",
    problem_too_long: "This video is longer than the server takes.",
    problem_too_many_pixels: "The pictures of this video are larger than the server takes.",
    problem_too_slow: "Reading this took longer than the server allows.",
    problem_no_space: "The server has no room now. Try again later.",
    problem_busy: "As many webcams as the server allows are being captioned. Try again later.",
    problem_idle: "No picture has come from the camera for a while.",
    problem_too_much_memory: "Reading this takes more memory than the server allows.",
    problem_not_translatable: "The model cannot translate this file.",
    problem_upload_too_slow: "Sending the file took longer than the server waits.",
    problem_no_token: "The server's token is missing or wrong. Load the page again and enter it.",
    problem_no_job: "The server has thrown this translation away. Send the file again.",
    problem_not_done: "The translation is not done yet.",
    problem_http_503: "The server has too many visitors now. Try again later.",
    problem_fault: "The server has a fault. Who runs it finds more in its log.",
  },
  de: {
    skip: "Zum Inhalt springen",
    title: "Übersetzung von Gebärdensprache",
    language: "Sprache",
    size: "Schriftgröße",
    limits: "Vor dem Gebrauch",
    limit_machine: "Hier übersetzt eine Maschine, kein Mensch. Sie ersetzt keine Dolmetscherin und keinen Dolmetscher. Nicht für Medizin, Recht oder Notfälle.",
    limit_training: "Sie kennt die Gebärdensprache, die Personen und die Themen ihres Trainings und keine anderen. Was darüber hinausgeht, wird falsch übersetzt und kann richtig klingen.",
    title_audio: "Sprache zu Text",
    file_audio: "Eine Aufnahme",
    file_choose_audio: "Wählen Sie Audio oder ein Video, oder ziehen Sie es hierher",
    limit_training_audio: "Sie kennt die Sprachen, die Stimmen und die Themen ihres Trainings und keine anderen. Was darüber hinausgeht, wird falsch und kann richtig klingen.",
    limit_deaf_audio: "Fragen Sie, wer diese Seite betreibt, nach der Modellkarte: Sie nennt die Korpora, die Einwilligungen und die Lizenzen.",
    limit_identity_audio: "Eine Stimme macht eine Person erkennbar. Fragen Sie, wer zu hören ist, bevor Sie eine Aufnahme verwenden.",
    limit_deaf: "Wenn ihre Modellkarte nichts anderes sagt, haben keine tauben Menschen sie beurteilt. Die Karte nennt die Korpora, die Einwilligungen und die Lizenzen; fragen Sie danach, wer diese Seite betreibt.",
    limit_store: "Ihr Video geht an den Rechner, der diese Seite anbietet, und an keinen anderen. Dort wird es nach der Übersetzung gelöscht. Text wird nur auf Ihren Wunsch behalten, in diesem Browser, und kann unten gelöscht werden.",
    limit_identity: "Gebärden machen eine Person erkennbar, auch ohne ihr Gesicht. Fragen Sie, wer im Video zu sehen ist, bevor Sie es verwenden.",
    card: "Was seine Karte vom Training sagt",
    model: "Modell: {id}. Es schreibt: {language}.",
    token: "Token dieses Servers",
    token_send: "Verwenden",
    token_wrong: "Das ist nicht das Token des Servers.",
    file: "Ein Video",
    file_choose: "Wählen Sie ein Video, oder ziehen Sie es hierher",
    bounds: "Höchstens {megabytes} MB und {minutes} Minuten.",
    too_large: "Die Datei hat {found} MB, der Server nimmt höchstens {most} MB.",
    cancel: "Abbrechen",
    sending: "Das Video wird gesendet: {percent} %",
    waiting: "Es wartet, bis es an der Reihe ist",
    running: "Es wird übersetzt: {percent} %",
    finished: "Fertig: {count} Sätze",
    one_finished: "Fertig: 1 Satz",
    cancelled: "Abgebrochen. Auf dem Server ist nichts davon geblieben.",
    busy: "Der Server ist ausgelastet. Nächster Versuch in {seconds} Sekunden.",
    again: "Die Verbindung ist abgerissen. Es wird noch einmal versucht.",
    lost: "Der Server ist nicht erreichbar.",
    failed: "Das ging nicht: {message}",
    unplayable: "Ihr Browser kann diese Art von Video nicht zeigen. Die Sätze stehen trotzdem hier.",
    sentences: "Sätze",
    nothing: "In diesem Video wurde kein Satz gefunden.",
    confidence: "Sicherheit {percent} %",
    unsure: "unsicher",
    not_understood: "[nicht verstanden]",
    words: "Worauf es geachtet hat",
    frame: "{time}, Gewicht {percent} %",
    downloads: "Herunterladen",
    keep: "In diesem Browser behalten",
    clear: "Leeren",
    webcam: "Webcam",
    start: "Live-Untertitel starten",
    stop: "Stopp",
    camera: "Ihre Kamera",
    delay: "Hinter der Kamera:",
    seconds: "{seconds} s",
    captions: "Untertitel",
    live_on: "Live. Grauer Text kann sich noch ändern, der andere bleibt.",
    live_ending: "Der letzte Satz wird übersetzt.",
    live_off: "Beendet.",
    no_camera: "Die Kamera ist nicht verfügbar: {message}",
    camera_denied: "Die Kamera darf nicht verwendet werden: Erlauben Sie es in den Einstellungen des Browsers für diese Seite.",
    camera_none: "Es wurde keine Kamera gefunden.",
    camera_taken: "Ein anderes Programm verwendet die Kamera.",
    needs_https: "ein Browser erlaubt sie nur bei https-Adressen und auf dem eigenen Rechner",
    save: "Untertitel speichern",
    kept: "In diesem Browser behalten",
    kept_about: "Nur Text, den Sie behalten wollten. Er liegt in diesem Browser und nirgends sonst.",
    kept_full: "Der Browser hat keinen Platz für mehr.",
    was_kept: "Behalten: {name}",
    remove: "Löschen",
    remove_named: "{name} löschen",
    save_named: "{name} als {form} speichern",
    forget: "Alles löschen",
    live_name: "Live-Untertitel",
    problem_not_media: "Das ist keine Video- oder Audiodatei, die hier gelesen werden kann.",
    problem_unreadable: "Diese Datei ist beschädigt oder kann hier nicht gelesen werden.",
    problem_too_large: "Diese Datei ist größer, als der Server annimmt.",
    problem_too_long: "Dieses Video ist länger, als der Server annimmt.",
    problem_too_many_pixels: "Die Bilder dieses Videos sind größer, als der Server annimmt.",
    problem_too_slow: "Das Lesen hat länger gedauert, als der Server erlaubt.",
    problem_no_space: "Der Server hat jetzt keinen Platz. Versuchen Sie es später noch einmal.",
    problem_busy: "Es werden schon so viele Webcams untertitelt, wie der Server erlaubt. Versuchen Sie es später noch einmal.",
    problem_idle: "Seit einer Weile ist kein Bild von der Kamera gekommen.",
    problem_too_much_memory: "Das Lesen braucht mehr Speicher, als der Server erlaubt.",
    problem_not_translatable: "Das Modell kann diese Datei nicht übersetzen.",
    problem_upload_too_slow: "Das Senden der Datei hat länger gedauert, als der Server wartet.",
    problem_no_token: "Das Token des Servers fehlt oder ist falsch. Laden Sie die Seite neu und geben Sie es ein.",
    problem_no_job: "Der Server hat diese Übersetzung nicht mehr. Senden Sie die Datei noch einmal.",
    problem_not_done: "Die Übersetzung ist noch nicht fertig.",
    problem_http_503: "Der Server hat gerade zu viele Besucher. Versuchen Sie es später noch einmal.",
    problem_fault: "Der Server hat einen Fehler. Wer ihn betreibt, findet mehr in seinem Protokoll.",
  },
};

let input = "video";
let current = navigator.language.toLowerCase().startsWith("de") ? "de" : "en";
const again = new WeakMap(); // of what is no longer shown nothing is kept

export function language() {
  return current;
}

/** A text with its places filled in. */
export function t(key, values = {}) {
  const text = TEXTS[current][`${key}_${input}`] ?? TEXTS[current][key];
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

/** Write a text into an element, and again when the language changes; no key: leave it empty. */
export function say(element, key, values = {}) {
  const write = () => { element.textContent = key ? t(key, values) : ""; };
  again.set(element, write);
  element.dataset.said = "";
  write();
}

/** Write why the server refused something: in the page's words if it has any, else in its own. */
export function tell(element, code, message) {
  if (`problem_${code}` in TEXTS.en) say(element, `problem_${code}`);
  else say(element, "failed", { message });
}

/** Show the page in a language. */
export function choose(code) {
  current = code;
  document.documentElement.lang = code;
  document.title = t("title");
  for (const element of document.querySelectorAll("[data-t]")) {
    element.textContent = t(element.dataset.t);
  }
  for (const element of document.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const element of document.querySelectorAll("[data-said]")) again.get(element)?.();
}

/** Say what the model reads, "video" or "audio": some texts differ. */
export function setInput(kind) {
  input = kind;
  choose(current);
}

/** A time such as 1:02. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A length as people read it, in the language of the page. */
export function number(value, digits) {
  return value.toLocaleString(current, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
