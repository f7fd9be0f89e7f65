// Keeps the parts of a page fresh that have `data-every`: seconds after which they are fetched again, by their id, from
// `data-from` or the address of the page. Nothing is replaced under somebody's hands. Without this file the page shows
// what was when it loaded.

async function refresh(from, parts) {
  const due = parts.filter((part) => !part.contains(document.activeElement));
  if (document.hidden || due.length === 0) return;
  try {
    const answer = await fetch(from);
    if (answer.status === 401) location.reload(); // The session has ended: the gateway asks for a sign-in.
    if (!answer.ok) return;
    const found = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of due) {
      const next = found.getElementById(part.id);
      if (next && next.innerHTML !== part.innerHTML) {
        part.replaceChildren(...[...next.childNodes].map((node) => document.importNode(node, true)));
      }
    }
  } catch (error) {
    console.debug("not refreshed:", error);
  }
}

const groups = new Map();
for (const part of document.querySelectorAll("[data-every]")) {
  const from = part.dataset.from ?? location.href;
  const key = `${part.dataset.every} ${from}`;
  const group = groups.get(key) ?? { seconds: Number(part.dataset.every), from, parts: [] };
  group.parts.push(part);
  groups.set(key, group);
}
for (const { seconds, from, parts } of groups.values()) setInterval(() => refresh(from, parts), seconds * 1000);
