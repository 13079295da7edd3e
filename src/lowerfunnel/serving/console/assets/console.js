// What the page does beyond forms and links: charts that refresh, events that light up, a button that copies.
// The page works without it. htmx swaps the parts; nothing here makes HTML.
"use strict";
(() => {
  const REFRESH_MS = 2000;
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const offline = document.getElementById("offline");
  let paused = false;

  // Charts. A hidden page asks for nothing.
  const tick = () => {
    if (!paused && document.visibilityState === "visible") htmx.trigger(live, "tick");
  };
  setInterval(tick, REFRESH_MS);
  document.addEventListener("visibilitychange", tick);
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
    tick();
  });
  const say = (sentence) => {
    if (offline.textContent === sentence) return;
    offline.textContent = sentence;
    offline.hidden = !sentence;
  };
  document.addEventListener("htmx:sendError", () => say("The server cannot be reached; the figures are as last seen."));
  document.addEventListener("htmx:responseError", (event) => say(`The server answered ${event.detail.xhr.status}; the figures are as last seen.`));
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) say(""); });
  // A refusal of the server that is no page of ours must not take the place of one.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const type = event.detail.xhr.getResponseHeader("content-type") || "";
    if (type.startsWith("text/html")) return;
    event.detail.shouldSwap = false;
    say(`The server answered ${event.detail.xhr.status} and no page; try again in a moment.`);
  });

  // Fields that cannot be used say so to whoever does not see the sentence beside them.
  const mark = () => {
    for (const wrong of document.querySelectorAll(".wrong[id^=wrong-]")) {
      const field = document.getElementById(wrong.id.replace("wrong-", "f-"));
      if (!field) continue;
      if (wrong.textContent.trim()) {
        field.setAttribute("aria-invalid", "true");
        const folded = field.closest("details");
        if (folded) folded.open = true;
      } else {
        field.removeAttribute("aria-invalid");
      }
    }
  };

  // A candidate lights up the events that it is nearest to, and an event the candidates that are near to it.
  const light = (target) => {
    for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
    if (!(target instanceof Element)) return;
    const link = target.closest("[data-to]");
    const card = target.closest("[data-near]");
    const event = target.closest("[data-event]");
    const places = link ? [link.dataset.to] : card ? card.dataset.near.split(" ").filter(Boolean) : [];
    for (const place of places) document.getElementById(`event-${place}`)?.classList.add("lit");
    if (!event) return;
    for (const near of document.querySelectorAll(`[data-near~="${event.dataset.event}"]`)) near.classList.add("lit");
  };
  document.addEventListener("pointerover", (event) => light(event.target));
  document.addEventListener("focusin", (event) => light(event.target));

  // A candidate's link to an event on this page needs no new page.
  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      const text = document.getElementById(copy.dataset.copy).textContent;
      navigator.clipboard.writeText(text).then(() => { copy.textContent = "Copied"; }, () => { copy.textContent = "Select it and copy by hand"; });
      return;
    }
    const link = event.target.closest("[data-to]");
    const there = link && document.getElementById(`event-${link.dataset.to}`);
    if (!there || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    there.scrollIntoView({ block: "center" });
    there.querySelector("a").focus({ preventScroll: true });
  });
  const offer = () => {
    for (const copy of document.querySelectorAll("[data-copy]")) copy.hidden = !navigator.clipboard;
  };
  document.addEventListener("htmx:afterSettle", () => { mark(); offer(); });
  mark();
  offer();
  document.documentElement.dataset.ready = "true";
})();
