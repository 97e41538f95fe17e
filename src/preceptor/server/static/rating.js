// Keys, active time and the undo countdown of the rating pages. Clinical text is never written to browser storage.
"use strict";

// Active time: visible and not idle for more than 30 seconds.
let active = 0, last = performance.now(), moved = performance.now();
setInterval(() => {
  const now = performance.now();
  if (document.visibilityState === "visible" && now - moved < 30000) active += now - last;
  last = now;
}, 250);
for (const name of ["keydown", "pointermove", "scroll", "touchstart"]) {
  addEventListener(name, () => { moved = performance.now(); }, { passive: true });
}

const keysOn = () => localStorage.getItem("preceptor-keys") !== "off";

function typing(target) {
  return target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") { document.activeElement?.blur(); return; }
  // in a box or a radio, Enter would press the form's first button: the lowest rating
  if (event.key === "Enter" && event.target.matches("input[type=checkbox], input[type=radio]")) {
    event.preventDefault();
    return;
  }
  if (!keysOn() || typing(event.target)) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!target || target.disabled) return;
  event.preventDefault();
  target.closest("details")?.setAttribute("open", "");
  if (target.matches("textarea, details, input[type=text]")) {
    (target.querySelector?.("textarea") ?? target).focus();
  } else target.click();
});

addEventListener("submit", (event) => {
  const field = event.target.querySelector("input[name=active_ms]");
  if (field) field.value = String(Math.round(active));
  if (event.target.dataset.sent) { event.preventDefault(); return; }  // a double click is one judgement
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

const toggle = document.querySelector("[data-toggle-keys]");
function showKeys() {
  if (!toggle) return;
  toggle.textContent = keysOn() ? "Turn keys off" : "Turn keys on";
  document.body.classList.toggle("keys-off", !keysOn());
}
toggle?.addEventListener("click", () => {
  localStorage.setItem("preceptor-keys", keysOn() ? "off" : "on");
  showKeys();
});
showKeys();

const undo = document.querySelector("[data-undo-seconds]");
if (undo) {
  let left = Number(undo.dataset.undoSeconds);
  const label = undo.querySelector("[data-left]");
  const timer = setInterval(() => {
    left -= 1;
    if (label) label.textContent = `${Math.max(left, 0)} s`;
    if (left <= 0) { clearInterval(timer); undo.hidden = true; }
  }, 1000);
}
