// Show the loop as it moves: fetch the page again, and put in the parts that changed.
// What has no id stays as it is.
setInterval(async () => {
  if (document.hidden) return;
  try {
    const response = await fetch(location.href);
    if (!response.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    for (const shown of document.querySelectorAll("main [id]")) {
      const fresh = page.getElementById(shown.id);
      if (!fresh) return location.reload();
      if (!fresh.isEqualNode(shown)) shown.replaceWith(fresh);
    }
  } catch {
    // the service is away for a moment: what is shown stays
  }
}, 5000);
