// Brings the page up to date every second without a reload. When the server does not answer it says so: an old
// page must not look like a live one.
(() => {
  const main = document.querySelector("[data-live]"), word = document.getElementById("live");
  let last = "";
  const turn = async () => {
    try {
      const r = await fetch(main.dataset.live + location.search, { cache: "no-store" });
      if (!r.ok) throw new Error(r.status === 401 ? "locked: open the link with the token again" : "the server says " + r.status);
      const html = await r.text();
      if (html !== last) { main.innerHTML = html; last = html; }
      word.textContent = "live";
      word.className = "quiet";
    } catch (e) {
      word.textContent = "not live: " + (e instanceof TypeError ? "the server does not answer" : e.message);
      word.className = "stale";
    }
    setTimeout(turn, document.hidden ? 5000 : 1000);
  };
  setTimeout(turn, 1000);
})();
