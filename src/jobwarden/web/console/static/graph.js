// A graph that is dragged and enlarged, with what is seen of it in a small one of the whole.
"use strict";
(() => {
  const graph = () => document.querySelector("svg.graph");
  if (graph() === null) return;
  const numbers = (element) => element.getAttribute("viewBox").split(" ").map(Number);
  let whole = numbers(graph());
  let box = [...whole];
  let follows = false;
  const show = () => {
    const shown = graph();
    if (shown === null) return;
    shown.setAttribute("viewBox", box.join(" "));
    const seen = document.querySelector("svg.minimap rect.seen");
    if (seen !== null) ["x", "y", "width", "height"].forEach((name, number) => seen.setAttribute(name, String(box[number])));
  };
  const zoom = (by, x = 0.5, y = 0.5) => {
    box = [box[0] + box[2] * (1 - by) * x, box[1] + box[3] * (1 - by) * y, box[2] * by, box[3] * by];
    show();
  };
  const center = (x, y) => {
    box = [x - box[2] / 2, y - box[3] / 2, box[2], box[3]];
    show();
  };
  const scale = () => Math.max(box[2] / graph().clientWidth, box[3] / graph().clientHeight);
  const follow = () => {
    const running = document.querySelector("svg.graph .n-running rect.node");
    if (!follows || running === null) return;
    if (box[2] > 900) { box[3] *= 900 / box[2]; box[2] = 900; }
    center(Number(running.getAttribute("x")) + 90, Number(running.getAttribute("y")) + 15);
  };

  const canvas = document.getElementById("main");
  canvas.addEventListener("wheel", (event) => {
    const at = event.target.closest("svg.graph");
    if (at === null) return;
    event.preventDefault();
    const place = at.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, (event.clientX - place.left) / place.width, (event.clientY - place.top) / place.height);
  }, { passive: false });
  let from = null;
  canvas.addEventListener("pointerdown", (event) => { from = event.target.closest("svg.graph") ? [event.clientX, event.clientY] : null; });
  canvas.addEventListener("pointermove", (event) => {
    if (from === null || !event.buttons) return;
    box[0] -= (event.clientX - from[0]) * scale();
    box[1] -= (event.clientY - from[1]) * scale();
    from = [event.clientX, event.clientY];
    show();
  });
  canvas.addEventListener("pointerup", () => { from = null; });
  canvas.addEventListener("click", (event) => {
    const small = event.target.closest("svg.minimap");
    if (small !== null) {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(small.getScreenCTM().inverse());
      center(point.x, point.y);
    }
    const turn = event.target.closest("[data-follow]");
    if (turn !== null) {
      follows = !follows;
      turn.setAttribute("aria-pressed", String(follows));
      follow();
    }
    const button = event.target.closest("[data-zoom]");
    if (button === null) return;
    if (button.dataset.zoom === "all") { box = [...whole]; show(); } else zoom(Number(button.dataset.zoom));
  });
  const reveal = () => {
    for (const turn of document.querySelectorAll("[data-follow]")) {
      turn.hidden = false;
      turn.setAttribute("aria-pressed", String(follows));
    }
  };
  document.body.addEventListener("htmx:afterSwap", () => {
    if (graph() === null) return;
    const drawn = numbers(graph());
    if (drawn[2] !== box[2] || drawn[3] !== box[3]) {
      const untouched = whole.join(" ") === box.join(" ");
      whole = drawn;
      if (untouched) box = [...drawn];
    }
    reveal();
    show();
    follow();
  });
  reveal();
  show();
})();
