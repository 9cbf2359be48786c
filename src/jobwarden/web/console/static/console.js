// What pages gain from scripts; without them every link and form works as it is.
"use strict";
(() => {
  const root = document.documentElement.dataset.root || "";
  const field = (target) => target.closest("input, textarea, select, [contenteditable]");

  // -- times in the viewer's own zone, said anew as they pass
  const unit = (seconds) => {
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
      if (Math.abs(seconds) >= 2 * size) return `${Math.round(seconds / size)} ${name}`;
    }
    return `${Math.round(seconds)} s`;
  };
  const times = (within) => {
    for (const time of within.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      const seconds = (Date.now() - moment.getTime()) / 1000;
      time.title = `${moment.toLocaleString()} (${time.dateTime})`;
      const words = seconds >= 0 ? `${unit(seconds)} ago` : `in ${unit(-seconds)}`;
      if (!time.hasAttribute("data-exact") && time.textContent !== words) time.textContent = words;
    }
  };

  // -- looking again: not in a hidden tab, and not while somebody points at rows, writes or has something open
  const main = document.getElementById("main");
  const held = document.getElementById("held");
  let pointed = false;
  const busy = () =>
    document.hidden || pointed || document.querySelector("details.act[open], dialog[open], [data-chosen='1']") !== null ||
    (document.activeElement !== null && main !== null && main.contains(document.activeElement) && field(document.activeElement));
  if (main !== null && main.dataset.live) {
    let every = Number(main.dataset.live);
    let looked = Date.now();
    setInterval(() => {
      if (held !== null) held.hidden = document.hidden || !busy();
      times(document);
      if (busy() || Date.now() - looked < 1000 * every - 100) return;
      looked = Date.now();
      htmx.trigger(main, "look");
    }, 1000);
    document.body.addEventListener("htmx:afterRequest", (event) => {
      every = Number(event.detail.xhr.getResponseHeader("X-Look-Again")) || every;
    });
    main.addEventListener("pointerover", (event) => { pointed = event.target.closest("tbody tr, .graph, .log") !== null; });
    main.addEventListener("pointerleave", () => { pointed = false; });
  }
  document.body.addEventListener("htmx:configRequest", (event) => { event.detail.headers["X-Live"] = "1"; });
  document.body.addEventListener("htmx:afterSwap", () => { times(document); marks(); count(); });

  // -- choosing rows
  const boxes = () => [...document.querySelectorAll("input[name='ids']")];
  const count = () => {
    const chosen = boxes().filter((box) => box.checked).length;
    const label = document.getElementById("chosen");
    if (label !== null) label.textContent = chosen ? `${chosen} chosen` : "";
    if (main !== null) main.dataset.chosen = chosen ? "1" : "0";
  };
  document.addEventListener("change", (event) => {
    if (event.target.id === "every") boxes().forEach((box) => { box.checked = event.target.checked; });
    if (event.target.name === "ids" || event.target.id === "every") count();
    if (event.target.matches("select[data-go]")) event.target.form.submit();
  });

  // -- theme and density are kept in cookies, so that they are there before a page is drawn
  const keep = (name, value) => {
    document.cookie = `${name}=${value}; path=${root || "/"}; max-age=31536000; samesite=lax`;
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-to]");
    if (button !== null) {
      const theme = button.dataset.themeTo;
      if (theme === "system") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
      keep("jobwarden_theme", theme);
    }
    if (event.target.closest("[data-density-turn]") !== null) {
      const density = document.documentElement.dataset.density === "comfortable" ? "compact" : "comfortable";
      document.documentElement.dataset.density = density;
      keep("jobwarden_density", density);
    }
    if (event.target.closest("[data-help]") !== null) help();
    const copy = event.target.closest("[data-copy]");
    if (copy !== null && navigator.clipboard) navigator.clipboard.writeText(copy.dataset.copy);
    for (const open of document.querySelectorAll("details.act[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });

  // -- keys
  const help = () => { const dialog = document.getElementById("help"); if (dialog !== null) dialog.showModal(); };
  let row = -1;
  let went = 0;
  const rows = () => [...document.querySelectorAll("main table.rows tbody tr")];
  const marks = () => rows().forEach((one, number) => one.classList.toggle("at", number === row));
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    row = Math.max(0, Math.min(all.length - 1, row + by));
    marks();
    all[row].scrollIntoView({ block: "nearest" });
  };
  const pages = { o: "/", j: "/jobs", p: "/parked", e: "/errors", b: "/batches", s: "/schedules", l: "/lanes", w: "/workers", a: "/audit" };
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      document.querySelectorAll("details.act[open]").forEach((open) => { open.open = false; });
      if (document.activeElement !== null) document.activeElement.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || field(event.target)) return;
    const at = rows()[row];
    if (Date.now() - went < 1200 && pages[event.key]) { location.href = root + pages[event.key]; return; }
    went = event.key === "g" ? Date.now() : 0;
    const acts = {
      "/": () => { const search = document.getElementById("q"); if (search !== null) { search.focus(); search.select(); } },
      "?": help,
      j: () => move(1),
      k: () => move(-1),
      x: () => { const box = at && at.querySelector("input[name='ids']"); if (box) { box.checked = !box.checked; count(); } },
      Enter: () => { const link = at && at.querySelector("a"); if (link && document.activeElement === document.body) link.click(); },
    };
    const act = acts[event.key] || (() => {
      const form = (at || document).querySelector(`[data-focus='${CSS.escape(event.key)}']`);
      if (form !== null) { form.querySelector("input:not([type=hidden])").focus(); return true; }
      const button = document.querySelector(`[data-key='${CSS.escape(event.key)}'] > summary`);
      if (button === null) return false;
      button.parentElement.open = true;
      const first = button.parentElement.querySelector("input:not([type=hidden]), textarea");
      if (first !== null) first.focus();
      return true;
    });
    if (act() !== false && event.key !== "Enter") event.preventDefault();
  });

  // -- lines of a log that have a text in them; of a running job as they are written
  const log = document.getElementById("log");
  const wanted = document.getElementById("sift");
  const sift = (line) => {
    line.hidden = wanted !== null && wanted.value !== "" && !line.textContent.toLowerCase().includes(wanted.value.toLowerCase());
  };
  if (log !== null && wanted !== null) {
    wanted.closest("label").hidden = false;
    wanted.addEventListener("input", () => {
      const lines = [...log.querySelectorAll(":scope > div")];
      lines.forEach(sift);
      const found = lines.filter((line) => !line.hidden).length;
      document.getElementById("sifted").textContent = wanted.value ? `${found} of ${lines.length} lines` : "";
    });
  }
  if (log !== null && log.dataset.stream && window.EventSource) {
    let source = null;
    const add = (line) => {
      if (log.dataset.level && line.level !== log.dataset.level) return;
      const shown = document.createElement("div");
      shown.className = `l-${line.level}`;
      for (const text of [line.seq, new Date(line.ts).toLocaleTimeString(), line.level, line.message]) {
        const cell = document.createElement("span");
        cell.textContent = String(text);
        shown.append(cell);
      }
      sift(shown);
      const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
      log.append(shown);
      while (log.childElementCount > 2000) log.firstElementChild.remove();
      if (low) log.scrollTop = log.scrollHeight;
    };
    const follow = () => {
      source = new EventSource(log.dataset.stream);
      source.onmessage = (event) => { if (Number(event.lastEventId) > Number(log.dataset.last)) { log.dataset.last = event.lastEventId; add(JSON.parse(event.data)); } };
      source.addEventListener("end", () => source.close());
    };
    const pause = document.getElementById("pause");
    if (pause !== null) {
      pause.hidden = false;
      pause.addEventListener("click", () => {
        const on = pause.getAttribute("aria-pressed") === "true";
        pause.setAttribute("aria-pressed", String(!on));
        pause.textContent = on ? "Pause" : "Go on";
        if (on) follow(); else source.close();
      });
    }
    log.scrollTop = log.scrollHeight;
    follow();
  }

  times(document);
  count();
})();
