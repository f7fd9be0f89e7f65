// Keeps the table of destinations fresh while the page is open. Without this file the page shows what was when it loaded.

const EVERY = 3000;
const fresh = document.getElementById("fresh");

async function refresh() {
  if (document.hidden || fresh.contains(document.activeElement)) return;
  try {
    const answer = await fetch(location.href);
    if (!answer.ok) return;
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("fresh");
    if (found) fresh.replaceChildren(...[...found.childNodes].map((node) => document.importNode(node, true)));
  } catch (error) {
    console.warn("destinations not refreshed:", error);
  }
}

setInterval(refresh, EVERY);
