"use strict";
(() => {
  const tip = document.getElementById("tip");
  const find = (bar) => document.getElementById(bar.getAttribute("href").slice(1));

  // The page's own tooltip replaces the browser's; its text stays for screen readers.
  for (const bar of document.querySelectorAll("a.bar")) {
    const title = bar.querySelector("title");
    bar.setAttribute("aria-label", title.textContent);
    title.remove();
  }

  function show(bar) {
    const step = find(bar);
    const line = document.createElement("b");
    line.textContent = bar.getAttribute("aria-label").split(":")[0];
    const code = document.createElement("code");
    code.textContent = step ? step.querySelector("summary code").textContent : "";
    tip.replaceChildren(line, code);
    tip.hidden = false;
    const at = bar.querySelector("rect").getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
    const below = at.bottom + 8 + tip.offsetHeight < innerHeight;
    tip.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - tip.offsetHeight - 8)}px`;
  }
  const hide = () => { tip.hidden = true; };

  let last = null;
  function open(bar) {
    const step = find(bar);
    if (!step) return;
    last = bar;
    step.hidden = false;
    const group = step.closest("#steps > div");
    if (group) group.hidden = false;
    step.open = true;
    hide();
    const summary = step.querySelector("summary");
    summary.focus({ preventScroll: true });
    step.scrollIntoView({ block: "start" });
  }

  // Each drawing is one tab stop; arrow keys move inside it.
  for (const chart of document.querySelectorAll(".chart")) {
    const rows = [...chart.querySelectorAll(".row")]
      .map((row) => [...row.querySelectorAll("a.bar")]).filter((row) => row.length);
    const bars = rows.flat();
    if (!bars.length) continue;
    bars.forEach((bar, at) => bar.setAttribute("tabindex", at ? "-1" : "0"));
    const middle = (bar) => {
      const at = bar.querySelector("rect").getBoundingClientRect();
      return at.left + at.width / 2;
    };
    function go(bar) {
      if (!bar) return;
      for (const each of bars) each.setAttribute("tabindex", each === bar ? "0" : "-1");
      bar.focus();
    }
    function turn(bar, by) {
      const row = rows[rows.findIndex((each) => each.includes(bar)) + by];
      if (!row) return bar;
      const here = middle(bar);
      return row.reduce((a, b) => (Math.abs(middle(b) - here) < Math.abs(middle(a) - here) ? b : a));
    }
    chart.addEventListener("keydown", (event) => {
      const bar = event.target.closest("a.bar");
      if (!bar || event.altKey || event.ctrlKey || event.metaKey) return;
      const at = bars.indexOf(bar);
      const moves = {
        ArrowRight: () => go(bars[at + 1]), ArrowLeft: () => go(bars[at - 1]),
        ArrowDown: () => go(turn(bar, 1)), ArrowUp: () => go(turn(bar, -1)),
        Home: () => go(bars[0]), End: () => go(bars[bars.length - 1]),
        " ": () => open(bar), Escape: hide,
      };
      if (!moves[event.key]) return;
      event.preventDefault();
      moves[event.key]();
    });
    chart.addEventListener("click", (event) => {
      const bar = event.target.closest("a.bar");
      if (!bar) return;
      event.preventDefault();
      open(bar);
    });
    for (const [kind, does] of [["pointerover", show], ["focusin", show]]) {
      chart.addEventListener(kind, (event) => {
        const bar = event.target.closest("a.bar");
        if (bar) does(bar); else hide();
      });
    }
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("focusout", hide);
  }
  // The focused element may have been scrolled to.
  addEventListener("scroll", () => {
    const bar = document.activeElement.closest("a.bar");
    if (bar) show(bar); else hide();
  }, { passive: true });

  const steps = document.getElementById("steps");
  if (!steps) return;
  steps.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && last) last.focus();
  });

  // A filter of the steps.
  const all = [...steps.querySelectorAll("details.step")];
  const bar = document.createElement("div");
  bar.className = "find";
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "Find in steps and logs";
  words.setAttribute("aria-label", words.placeholder);
  const kinds = document.createElement("select");
  kinds.setAttribute("aria-label", "Outcome");
  for (const name of ["all", "reused", "executed", "failed"]) {
    const option = document.createElement("option");
    option.value = option.textContent = name;
    kinds.append(option);
  }
  bar.append(words, kinds);
  steps.querySelector("h2").after(bar);
  function filter() {
    const text = words.value.toLowerCase();
    for (const step of all) {
      const fits = kinds.value === "all" || step.querySelector(".badge").classList.contains(kinds.value);
      step.hidden = !fits || (text !== "" && !step.textContent.toLowerCase().includes(text));
    }
    for (const group of steps.querySelectorAll(":scope > div:not(.find)")) {
      group.hidden = !group.querySelector("details.step:not([hidden])");
    }
  }
  words.addEventListener("input", filter);
  kinds.addEventListener("change", filter);
})();
