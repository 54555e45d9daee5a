// Shows what the API tells, hands a video in, and plays what was published. All
// text of others is set as text, never as markup.
const every = 3000; // ms
const most = 100; // jobs shown
const $ = selector => document.querySelector(selector);

function element(name, properties) {
	return Object.assign(document.createElement(name), properties);
}

// fill shows rows of cells; a cell is text or an element.
function fill(table, rows, empty) {
	const body = rows.map(cells => {
		const row = element("tr");
		row.append(...cells.map(cell => { const td = element("td"); td.append(cell); return td; }));
		return row;
	});
	if (rows.length === 0) {
		const cell = element("td", {colSpan: 9, textContent: empty});
		body.push(element("tr"));
		body[0].append(cell);
	}
	table.tBodies[0].replaceChildren(...body);
}

function mediaURL(path) {
	return "media/" + path.split("/").map(encodeURIComponent).join("/");
}

// piRow shows a board, or a worker that is none and has no address or template.
function piRow(pi) {
	const worker = pi.worker;
	const does = worker?.job ? `job ${worker.job}, ${worker.unit}` : "";
	return [pi.name, pi.ip ?? "", pi.template ? `${pi.template}@${pi.version}` : "", pi.online ? "online" : "offline", does];
}

function doneText(job) {
	if (!job.total_frames) return "";
	let text = Math.floor(job.frames * 100 / job.total_frames) + " %";
	if (job.fps) text += `, ${Math.round(job.fps)} fps`;
	if (job.eta) text += `, ${Math.ceil(job.eta / 1e9)} s left`;
	return text;
}

function outputCell(job) {
	if (job.state !== "done") return element("span", {textContent: job.reason ?? "", className: job.state});
	if (!/^(hls|mp4|mkv)\//.test(job.output)) return job.output;
	const link = element("a", {href: mediaURL(job.output), textContent: job.output});
	link.onclick = event => { event.preventDefault(); play(job); };
	return link;
}

// noted adds the sentences of a job's note, such as what its output lacks.
function noted(job, cell) {
	if (!job.note) return cell;
	const both = element("div");
	both.append(cell, ...job.note.split("\n").map(sentence => element("p", {textContent: sentence, className: "note"})));
	return both;
}

function jobRow(job) {
	const state = job.paused ? job.state + ", paused" : job.state;
	return [String(job.id), state, doneText(job), job.request.source, noted(job, outputCell(job))];
}

// play plays a file, and a stream where the browser can by itself.
function play(job) {
	const url = mediaURL(job.output), video = $("#player video"), address = new URL(url, location).href;
	const stream = job.output.endsWith(".m3u8");
	$("#player").hidden = false;
	$("#title").textContent = job.request.source;
	$("#note").textContent = address;
	video.onerror = () => { $("#note").textContent = "This browser cannot play it. VLC and mpv can, from " + address; };
	if (stream && !video.canPlayType("application/vnd.apple.mpegurl")) {
		video.removeAttribute("src");
		video.load();
		video.onerror();
		return;
	}
	video.src = url;
	video.play().catch(() => {}); // a browser may want a click first
}

async function get(path) {
	const response = await fetch("api/v1/" + path);
	const answer = await response.json();
	if (response.status === 401) location.replace("login");
	if (!response.ok) throw new Error(answer.error);
	return answer;
}

async function refresh() {
	try {
		const [info, pis, machines, jobs] = await Promise.all([get("info"), get("pis"), get("workers"), get("jobs")]);
		$("#info").textContent = `${info.version}, ${info.interface} ${info.network}`;
		fill($("#pis"), [...pis, ...machines].map(piRow), "none; pibootd add-pi --help says how to add one");
		fill($("#jobs"), jobs.slice(0, most).map(jobRow), "none");
		$("#more").hidden = jobs.length <= most;
		$("#more").textContent = `and ${jobs.length - most} older ones`;
		$("#problem").hidden = true;
	} catch (problem) {
		$("#problem").hidden = false;
		$("#problem").textContent = `pibootd does not answer (${problem.message}); trying again`;
	}
}

// send makes a request that tells how far it is and takes a token. It resolves
// to the answer, or rejects with what is wrong in words.
function send(method, path, body, token, progress) {
	return new Promise((resolve, reject) => {
		const request = new XMLHttpRequest();
		request.open(method, "api/v1/" + path);
		request.setRequestHeader("Authorization", "Bearer " + token);
		request.upload.onprogress = event => progress(event.loaded / event.total);
		request.onerror = () => reject(new Error("the connection to pibootd ended"));
		request.onload = () => {
			let answer = {};
			try { answer = JSON.parse(request.responseText); } catch { answer.error = request.statusText; }
			request.status < 300 ? resolve(answer) : reject(new Error(answer.error));
		};
		request.send(body);
	});
}

$("#upload").onsubmit = async event => {
	event.preventDefault();
	const form = event.target, said = form.querySelector("output"), bar = form.querySelector("progress");
	const file = form.video.files[0], token = form.token.value;
	form.querySelector("button").disabled = true;
	bar.hidden = false;
	said.textContent = "";
	said.className = "";
	try {
		const path = "uploads/" + file.name.replace(/^\.+/, "");
		// A connection that is refused midway tells no reason, so it is asked first.
		await send("PUT", `${mediaURL(path)}?check=${file.size}`, null, token, () => {});
		await send("PUT", mediaURL(path), file, token, done => { bar.value = done; });
		const request = {source: path, ...JSON.parse(form.makes.value)};
		const submitted = await send("POST", "jobs", JSON.stringify(request), token, () => {});
		said.textContent = `job ${submitted.job.id}`;
		form.video.value = "";
	} catch (problem) {
		said.textContent = problem.message;
		said.className = "failed";
	}
	form.querySelector("button").disabled = false;
	bar.hidden = true;
	refresh();
};

refresh();
setInterval(refresh, every);
