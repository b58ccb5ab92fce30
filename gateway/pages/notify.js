// Tells somebody who looks elsewhere that it is their turn: in the title, by a chime, by a notification if they want one.

import { t } from "./ui.js";

let audio;

/** To be called when they press something: before that, browsers let a page neither sound nor ask. */
export function allowSound() {
  const Context = window.AudioContext;
  if (Context) audio ??= new Context();
  audio?.resume();
}

export const canAsk = () => "Notification" in window && Notification.permission === "default";
export const ask = () => Notification.requestPermission();

function chime() {
  if (audio?.state !== "running") return;
  [660, 880].forEach((pitch, at) => {
    const [tone, volume] = [audio.createOscillator(), audio.createGain()];
    const from = audio.currentTime + at * 0.25;
    tone.frequency.value = pitch;
    volume.gain.setValueAtTime(0.2, from);
    volume.gain.exponentialRampToValueAtTime(0.001, from + 0.5);
    tone.connect(volume).connect(audio.destination);
    tone.start(from);
    tone.stop(from + 0.5);
  });
}

export function yourTurn(name) {
  document.title = `🔔 ${t("wait.admitted")}`;
  chime();
  if ("Notification" in window && Notification.permission === "granted" && document.hidden) {
    try {
      new Notification(t("wait.admitted"), { body: name, tag: "turn" });
    } catch {
      // Some phones only let service workers show them; title and chime have to do.
    }
  }
}
