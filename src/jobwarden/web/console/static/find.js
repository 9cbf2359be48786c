// Finding: a palette of all that can be done here, searches that are kept, and completion of what is typed.
"use strict";
(() => {
  const root = document.documentElement.dataset.root || "";
  const KEPT = `jobwarden${root}:searches`;
  const kept = () => { try { return JSON.parse(localStorage.getItem(KEPT)) || []; } catch { return []; } };
  const keep = (searches) => { try { localStorage.setItem(KEPT, JSON.stringify(searches)); } catch { /* a browser that keeps nothing */ } };
  const searching = (text) => `${root}/jobs?q=${encodeURIComponent(text)}`;

  // -- the palette
  const dialog = document.getElementById("palette");
  const input = document.getElementById("palette-input");
  const list = document.getElementById("palette-list");
  let entries = [];
  let at = 0;
  const all = () => {
    const found = [];
    for (const link of document.querySelectorAll("nav.side li a")) {
      found.push([`Go to ${link.firstChild.textContent.trim()}`, () => { location.href = link.href; }]);
    }
    for (const act of document.querySelectorAll(".acts > details.act > summary")) {
      found.unshift([`${act.textContent.trim()} …`, () => {
        act.parentElement.open = true;
        const first = act.parentElement.querySelector("input:not([type=hidden])");
        if (first !== null) first.focus();
      }]);
    }
    for (const link of document.querySelectorAll("main .acts a.button, nav.tabs a")) {
      found.push([link.textContent.trim(), () => { location.href = link.href; }]);
    }
    for (const [name, text] of kept()) found.push([`Search: ${name}`, () => { location.href = searching(text); }]);
    for (const theme of ["light", "dark", "system"]) {
      found.push([`Theme: ${theme}`, () => document.querySelector(`[data-theme-to=${theme}]`).click()]);
    }
    return found;
  };
  const draw = () => {
    const text = input.value.trim();
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    entries = all().filter(([name]) => words.every((word) => name.toLowerCase().includes(word)));
    if (text) {
      if (/^[0-9a-f-]{6,36}$/i.test(text)) entries.unshift([`Open job ${text}`, () => { location.href = `${root}/jobs/${encodeURIComponent(text)}`; }]);
      entries.push([`Find jobs: ${text}`, () => { location.href = searching(text); }]);
    }
    at = Math.min(at, Math.max(0, entries.length - 1));
    list.replaceChildren(...entries.map(([name], number) => {
      const line = document.createElement("li");
      line.id = `palette-${number}`;
      line.role = "option";
      line.textContent = name;
      line.ariaSelected = String(number === at);
      line.addEventListener("click", () => take(number));
      return line;
    }));
    input.setAttribute("aria-activedescendant", entries.length ? `palette-${at}` : "");
    const chosen = list.children[at];
    if (chosen) chosen.scrollIntoView({ block: "nearest" });
  };
  const take = (number) => {
    const entry = entries[number];
    if (entry === undefined) return;
    dialog.close();
    entry[1]();
  };
  const open = () => { input.value = ""; at = 0; draw(); dialog.showModal(); input.focus(); };
  if (dialog !== null) {
    input.addEventListener("input", () => { at = 0; draw(); });
    input.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: 1, ArrowUp: -1 };
      if (event.key in steps) { at = (at + steps[event.key] + entries.length) % Math.max(1, entries.length); draw(); event.preventDefault(); }
      if (event.key === "Enter") { event.preventDefault(); take(at); }
    });
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") { event.preventDefault(); open(); }
    });
    for (const button of document.querySelectorAll("[data-palette]")) button.addEventListener("click", open);
  }

  // -- searches that are kept, in this browser
  const chips = document.getElementById("kept");
  const current = chips === null ? "" : chips.dataset.q;
  const show = () => {
    if (chips === null) return;
    chips.replaceChildren(...kept().map(([name, text]) => {
      const link = document.createElement("a");
      link.className = "chip";
      link.href = searching(text);
      link.textContent = name;
      link.title = text;
      if (text === current) link.setAttribute("aria-current", "true");
      return link;
    }));
    const saved = kept().some(([, text]) => text === current);
    if (!current) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = saved ? "Forget this search" : "Keep this search";
    button.addEventListener("click", () => {
      if (saved) keep(kept().filter(([, text]) => text !== current));
      else keep([...kept().slice(-19), [current.length > 40 ? `${current.slice(0, 39)}…` : current, current]]);
      show();
    });
    chips.append(button);
  };
  show();

  // -- completion of the word that is typed: fields, states, tags and their values
  const q = document.getElementById("q");
  const completions = document.getElementById("completions");
  const states = ["pending", "queued", "running", "retrying", "orphaned", "succeeded", "failed", "canceled", "stopped"];
  const fields = ["state:", "lane:", "job:", "host:", "worker:", "batch:", "schedule:", "error:", "id:", "older:", "newer:", "stuck"];
  const answers = new Map();
  const ask = async (path) => {
    if (!answers.has(path)) {
      answers.set(path, fetch(`${root}/api${path}`, { headers: { Accept: "application/json" } }).then((answer) => (answer.ok ? answer.json() : [])).catch(() => []));
    }
    return answers.get(path);
  };
  const suggest = async (word) => {
    const [, negated, name, value] = /^(-?)([^:]*)(?::(.*))?$/.exec(word);
    if (value === undefined) {
      const tags = await ask("/tags?limit=100");
      const names = [...fields, ...tags.map((tag) => `${tag.name}:`)];
      return names.filter((one) => one.startsWith(name)).map((one) => negated + one);
    }
    if (name === "state") return states.filter((one) => one.startsWith(value)).map((one) => `${negated}state:${one}`);
    if (fields.includes(`${name}:`) || /["\\]/.test(value)) return [];
    const found = await ask(`/tags/values?name=${encodeURIComponent(name)}&prefix=${encodeURIComponent(value)}&limit=20`);
    return (found.data || []).map((one) => `${negated}${name}:${/[\s"]/.test(one.value) ? JSON.stringify(one.value) : one.value}`);
  };
  if (q !== null && completions !== null) {
    let last = 0;
    q.addEventListener("input", async () => {
      const mine = ++last;
      const head = q.value.slice(0, q.value.length - /\S*$/.exec(q.value)[0].length);
      const found = await suggest(/\S*$/.exec(q.value)[0]);
      if (mine !== last) return;
      completions.replaceChildren(...found.slice(0, 20).map((word) => {
        const option = document.createElement("option");
        option.value = head + word;
        return option;
      }));
    });
  }
})();
