/* What the page does by itself: one question at a time, whose answer belongs to the photo shown.
 *
 * Each change gives the question a new number and takes the old answer away at once. An answer carries the number of
 * its question, and only the newest is shown. */
(() => {
  const PAUSE = 700; // ms after the last key, until the answer is asked again
  const PATIENCE = 20000; // ms without an answer, until that is said
  const FIELDS = ["distance", "subject", "viewpoint", "row", "many-subject"];
  const card = (text) => `<div class="gt gt-card"><p class="gt-waits" role="status">${text}</p></div>`;
  let question = 0, many = 0, timer = null, patience = null, explicit = false, mode = "photo";

  const box = (id) => document.getElementById(id);
  const input = (id) => box(id)?.querySelector("textarea, input[type=text], input:not([type]), input[type=file]");

  function clearError(id) {
    const ids = id ? [id] : [...FIELDS, "photo", "files"];
    for (const name of ids) {
      box(`${name}-error`)?.remove();
      const field = input(name);
      if (field) { field.removeAttribute("aria-invalid"); field.removeAttribute("aria-describedby"); }
    }
  }

  function showError(id, message, focus) {
    const place = box(id), field = input(id);
    if (!place) return;
    clearError(id);
    const said = document.createElement("p");
    said.id = `${id}-error`;
    said.className = "gt-error";
    said.setAttribute("role", "alert");
    said.textContent = message;
    (id === "photo" || id === "files" ? place.parentElement : place).insertBefore(
      said, id === "photo" || id === "files" ? place.nextSibling : null);
    if (!field) { said.tabIndex = -1; if (focus) said.focus(); return; }
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", said.id);
    if (focus) (field.type === "file" ? place.querySelector("button") ?? field : field).focus();
    said.scrollIntoView({ block: "nearest" });
  }

  /* The answer that stands there is old: it goes, and its question's number with it. */
  function changed() {
    question += 1;
    answers.types = "";
    clearTimeout(timer);
    clearError();
    return [card("Waiting for the answer …"), ""];
  }

  /* Before Gradio has heard of a change: the old answer is out of sight in the same moment. */
  function hide() {
    const board = box("board"), types = box("types");
    if (!board || !has()) return;
    board.dataset.stale = "1";
    const back = () => { observer.disconnect(); delete board.dataset.stale; };
    const observer = new MutationObserver(back);
    observer.observe(types, { childList: true, subtree: true, characterData: true });
    setTimeout(back, 1500);
  }
  document.addEventListener("click", (event) => { if (event.target.closest?.("#photo button, [data-press], [role=tab]")) hide(); }, true);
  for (const kind of ["input", "drop", "paste"])
    document.addEventListener(kind, (event) => { if (event.target.closest?.("#photo, #distance, #subject, #viewpoint, #row")) hide(); }, true);

  function ask(now = true) {
    clearTimeout(timer);
    explicit = now === "explicit";
    timer = setTimeout(() => box("ask")?.click(), now ? 0 : PAUSE);
    clearTimeout(patience);
    patience = setTimeout(() => late("There is no answer yet."), PATIENCE);
    if (!navigator.onLine) setTimeout(offline, 100);
  }

  /* Nothing came: said where the answer is waited for, which may still come. */
  function late(why) {
    const waits = box("types")?.querySelector(".gt-waits[role=status]");
    if (waits) waits.textContent = `${why} “Show the types” asks again.`;
  }
  const offline = () => late("The connection to the Space was lost.");
  addEventListener("offline", offline);

  /* Gradio loads the page anew when a lost connection is there again. What was answered before is then shown once
   * more, apart from the new page's own answer, until it is put away; it never leaves this tab. */
  const KEPT = "geograph-kept";
  const answers = { types: "", many: "" };
  let lost = false;
  addEventListener("offline", () => { lost = true; });
  addEventListener("pagehide", () => {
    if (!lost || !(answers.types || answers.many)) return;
    try { sessionStorage.setItem(KEPT, JSON.stringify(answers)); } catch { /* no room, or not allowed */ }
  });
  function showKept() {
    let kept = null;
    try { kept = JSON.parse(sessionStorage.getItem(KEPT)); sessionStorage.removeItem(KEPT); } catch { return; }
    if (!kept || performance.getEntriesByType("navigation")[0]?.type !== "reload") return;
    const section = document.createElement("section");
    section.id = "kept";
    section.className = "gt gt-card";
    section.setAttribute("aria-label", "From before the connection was lost");
    section.innerHTML = '<h2>From before the connection was lost</h2><button type="button">Put away</button>' +
      [kept.types, kept.many].join("").replaceAll(/ id="[^"]*"/g, "");
    section.querySelector("button").onclick = () => section.remove();
    box("board").parentElement.insertBefore(section, box("board"));
  }
  const ready = new MutationObserver(() => { if (box("board") && box("types")) { ready.disconnect(); showKept(); } });
  ready.observe(document.documentElement, { childList: true, subtree: true });

  const empty = () => [window.geographEmpty, ""];
  const has = () => mode === "row" ? input("row")?.value.trim() : document.querySelector("#photo img");

  window.geograph = {
    changed, ask,
    typed: () => { const shown = has() ? changed() : empty(); clearError(); if (has()) ask(false); return shown; },
    entered: () => { const shown = changed(); ask("explicit"); return shown; },
    newPhoto: () => { box("photo").classList.remove("gt-no-preview"); const shown = changed(); ask(); return [...shown, "", "", ""]; },
    noPhoto: () => { changed(); return [...empty(), "", "", ""]; },
    tab: (name) => {
      mode = name;
      const shown = changed();
      if (has()) { ask(); return shown; }
      return empty();
    },
    example: (name, distance, subject, viewpoint) => {
      const address = new URL(`examples/${name}`, document.baseURI).href;
      const photo = { path: address, url: address, orig_name: name, mime_type: "image/jpeg", meta: { _type: "gradio.FileData" } };
      box("photo").classList.remove("gt-no-preview");
      const shown = changed();
      ask();
      return [...shown, photo, distance, subject, viewpoint];
    },
    /* With a question goes its number. */
    asking: (_, ...rest) => {
      const said = JSON.stringify({ question, mode, explicit });
      explicit = false;
      return [said, ...rest];
    },
    /* An answer came: shown where it is that of the newest question. */
    show: (answer, types, details, viewpoint) => {
      if (!answer || answer.question !== question) return [types, details, viewpoint];
      if (answer.empty) return [...empty(), viewpoint];
      if (answer.error) {
        const { field, message } = answer.error;
        const typing = FIELDS.includes(document.activeElement?.closest("[id]")?.id) || document.activeElement?.matches("textarea, input[type=text]");
        if (field) showError(field, message, answer.explicit || !typing);
        return [field ? card("No answer: see the message at the field.") : `<div class="gt gt-card"><p class="gt-waits" role="alert">${message}</p></div>`, "", viewpoint];
      }
      if (box("types").getBoundingClientRect().top > innerHeight - 120) box("types").scrollIntoView({ block: "start" });
      answers.types = answer.types;
      return [answer.types, answer.details, viewpoint || answer.viewpoint];
    },
    failed: (types, details) => [`<div class="gt gt-card"><p class="gt-waits" role="alert">${lastToast || "The Space did not answer. Please try again."}</p></div>`, ""],
    manyChanged: () => { many += 1; answers.many = ""; clearError("files"); clearError("many-subject"); return ""; },
    manyAsking: (_, ...rest) => [JSON.stringify({ question: ++many }), ...rest],
    manyShow: (answer, shown) => {
      if (!answer || answer.question !== many) return shown;
      if (answer.error) { showError(answer.error.field || "files", answer.error.message, true); return ""; }
      if (answer.html.includes("<table")) answers.many = answer.html;
      return answer.html;
    },
    manyFailed: () => `<p class="gt-error" role="alert">${lastToast || "The Space did not answer. Please try again."}</p>`,
  };

  /* The slider over the distances lives in the answer: all 23 answers came with it. */
  function slide(slider, bucket) {
    const whole = slider.closest("[data-own]"), own = whole.dataset.own, plot = whole.querySelector(".gt-plot");
    const said = JSON.parse(slider.dataset.names)[bucket];
    slider.value = bucket;
    slider.setAttribute("aria-valuetext", said);
    whole.querySelector("output").textContent = said;
    for (const panel of whole.querySelectorAll(".gt-at")) panel.hidden = panel.dataset.bucket !== String(bucket);
    whole.querySelector(".gt-back").hidden = String(bucket) === own;
    const step = Number(plot.dataset.step), band = plot.querySelector(".gt-band");
    band.setAttribute("x", 66 + step * (bucket + (bucket === 22 ? 0.9 : 0.2)) - step / 2);
  }
  document.addEventListener("input", (event) => {
    if (event.target.id === "gt-distance") slide(event.target, Number(event.target.value));
  });
  document.addEventListener("click", (event) => {
    const press = event.target.closest?.("[data-press]");
    if (press) box(press.dataset.press)?.click();
    const whole = event.target.matches?.(".gt-back") && event.target.closest("[data-own]");
    if (whole) { const slider = whole.querySelector("#gt-distance"); slide(slider, Number(whole.dataset.own)); slider.focus(); }
  });
  document.addEventListener("error", (event) => {
    if (event.target.closest?.("#photo")) box("photo").classList.add("gt-no-preview");
  }, true);

  /* Files are looked at before they are sent: too large, empty, too many. */
  function refused(files, id) {
    const { fileLimit, photoLimit, totalLimit } = window.geographLimits;
    const mb = (bytes) => `${Math.floor(bytes / 1048576)} MB`;
    if (id === "files" && files.length > photoLimit) return `These are ${files.length} files: choose at most ${photoLimit} at once.`;
    for (const file of files) {
      if (file.size === 0) return `${file.name} is empty.`;
      if (file.size > fileLimit) return `${file.name} is too large: at most ${mb(fileLimit)}.`;
    }
    const total = [...files].reduce((sum, file) => sum + file.size, 0);
    if (total > totalLimit) return `Together these files are too large: at most ${mb(totalLimit)}.`;
    if (id === "photo" && files.length === 1) {
      const file = files[0], type = file.type || "";
      if (/\.(heic|heif)$/i.test(file.name) && !window.geographLimits.heic) return `${file.name}: HEIC photos cannot be read here. Please save it as JPEG and choose that.`;
      if (!type.startsWith("image/") && !/\.(heic|heif|avif|jp2)$/i.test(file.name)) return `${file.name} is no photo: choose a JPEG, PNG, WebP, TIFF or GIF file.`;
    }
    return null;
  }
  function guard(event, files) {
    const place = event.target.closest?.("#photo, #files");
    if (!place || !files?.length) return;
    const message = refused(files, place.id);
    if (!message) return clearError(place.id); // what was said is of the file before
    event.preventDefault();
    event.stopImmediatePropagation();
    if (event.target.value) event.target.value = "";
    if (place.id === "photo") box("wrong-photo")?.click();
    setTimeout(() => showError(place.id, message, true), 60);
  }
  document.addEventListener("change", (event) => { if (event.target.type === "file") guard(event, event.target.files); }, true);
  document.addEventListener("drop", (event) => guard(event, event.dataTransfer?.files), true);

  /* Gradio's own messages are hidden; what they say of an upload is said at its field. */
  let lastToast = "";
  const own = (text) => /queue|busy/i.test(text) ? "Many people are asking just now. Please try again in a minute."
    : /size|large|413/i.test(text) ? "This file is too large." : /connect|network|fetch/i.test(text)
    ? "The connection to the Space was lost. Please try again." : /type|format|upload/i.test(text) ? "This file could not be taken: choose a photo." : "";
  new MutationObserver(() => {
    for (const toast of document.querySelectorAll(".toast-body:not([data-seen])")) {
      toast.dataset.seen = "1";
      lastToast = own(toast.textContent);
      lost ||= /connection/i.test(toast.textContent);
      if (/type|size|large|upload|413/i.test(toast.textContent)) showError(mode === "photo" ? "photo" : "files", lastToast, true);
      toast.querySelector("button")?.click();
    }
    if (box("types")?.ariaLive === null) box("types").ariaLive = "polite";
    for (const area of document.querySelectorAll(":is(#photo, #files) .upload-container[aria-label]")) area.removeAttribute("aria-label"); // its text is its name
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
