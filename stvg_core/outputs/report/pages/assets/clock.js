"use strict";
// What time it is in the video. Times are presentation times of the file, as in every result; the player's own clock
// may be off by a constant. Without a video the clock runs by itself.
(() => {
  const TOLERANCE_SECONDS = 0.0004;

  /** Presentation times of a video's frames. */
  stvg.FrameTimes = class {
    constructor(part) {
      this.even = part.times.seconds ? null : part.times;
      this.listed = part.times.seconds || null;
      this.count = this.listed ? this.listed.length : part.times.count;
      this.end = Math.max(part.end, this.seconds(this.count - 1));
      this.first = this.seconds(0);
    }

    /** Return when a source frame appears. */
    seconds(frame) {
      return this.listed ? this.listed[frame] : this.even.first + frame * this.even.step;
    }

    /** Return when a source frame goes. */
    endSeconds(frame) {
      return frame + 1 < this.count ? this.seconds(frame + 1) : this.end;
    }

    /** Return the source frame that is on the screen at a time. */
    frameAt(time) {
      const shifted = time + TOLERANCE_SECONDS;
      let [low, high] = [0, this.count - 1];
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (this.seconds(middle) <= shifted) low = middle;
        else high = middle - 1;
      }
      return low;
    }
  };

  stvg.Clock = class extends EventTarget {
    constructor(part, video) {
      super();
      this.times = new stvg.FrameTimes(part);
      this.offset = part.offset;
      this.video = video;
      this.time = this.times.first;
      this.rate = 1;
      this.loop = null;
      this.virtual = false;
      this.closed = false;
      if (video) this.follow(video);
    }

    get playing() {
      return this.video ? !this.video.paused && !this.video.ended : this.virtual;
    }

    get frame() {
      return this.times.frameAt(this.time);
    }

    follow(video) {
      // What was sought before the player knew its video.
      video.addEventListener("loadedmetadata", () => this.seek(this.sought ?? this.time), { once: true });
      const tell = (mediaSeconds) => this.pass(mediaSeconds - this.offset);
      if (video.requestVideoFrameCallback) {
        const next = () => {
          video.requestVideoFrameCallback((_now, shown) => {
            if (this.video !== video || this.closed) return;
            if (!video.seeking) tell(shown.mediaTime);
            next();
          });
        };
        next();
      } else {
        const look = () => {
          if (this.video !== video || this.closed) return;
          if (!video.paused) tell(video.currentTime);
          requestAnimationFrame(look);
        };
        look();
      }
      // A player out of sight paints nothing, and tells of no frame.
      video.addEventListener("seeked", () => {
        if (video.paused && this.video === video && !this.closed) this.pass(this.sought ?? this.time);
      });
      for (const name of ["play", "pause", "ended"]) {
        video.addEventListener(name, () => this.dispatchEvent(new Event("state")));
      }
      video.addEventListener("ended", () => {
        if (this.loop) this.replay();
      });
    }

    /** Go on without the video, where the browser cannot play it. */
    lose() {
      this.video = null;
      this.dispatchEvent(new Event("state"));
    }

    pass(time) {
      this.time = Math.min(Math.max(time, this.times.first), this.times.end);
      this.dispatchEvent(new Event("tick"));
      if (this.loop && this.playing && this.time >= this.loop[1]) this.replay();
    }

    replay() {
      this.seek(this.loop[0]);
      this.play();
    }

    seek(time) {
      const wanted = Math.min(Math.max(time, this.times.first), this.times.end);
      this.sought = wanted;
      if (this.video && this.video.readyState > 0) {
        // Well inside the frame: players round times, and must not show its neighbour.
        const frame = this.times.frameAt(wanted);
        const inside = Math.min(0.01, (this.times.endSeconds(frame) - this.times.seconds(frame)) / 4);
        this.video.currentTime = Math.max(wanted, this.times.seconds(frame) + inside) + this.offset;
      }
      this.pass(wanted);
    }

    seekFrame(frame) {
      this.seek(this.times.seconds(Math.min(Math.max(frame, 0), this.times.count - 1)));
    }

    step(frames) {
      this.pause();
      this.seekFrame(this.frame + frames);
    }

    play() {
      if (this.loop && (this.time < this.loop[0] || this.time >= this.loop[1])) this.seek(this.loop[0]);
      if (this.video) {
        this.video.playbackRate = this.rate;
        // A player that was closed meanwhile refuses; there is nothing to be done about it.
        this.video.play().catch(() => undefined);
        return;
      }
      if (this.time >= this.times.end) this.pass(this.times.first);
      this.virtual = true;
      this.dispatchEvent(new Event("state"));
      let before = performance.now();
      const run = (now) => {
        if (!this.virtual || this.closed) return;
        const time = this.time + ((now - before) / 1000) * this.rate;
        before = now;
        this.pass(time);
        if (time >= this.times.end && !this.loop) this.pause();
        else requestAnimationFrame(run);
      };
      requestAnimationFrame(run);
    }

    pause() {
      if (this.video) this.video.pause();
      if (this.virtual) {
        this.virtual = false;
        this.dispatchEvent(new Event("state"));
      }
    }

    toggle() {
      if (this.playing) this.pause();
      else this.play();
    }

    setRate(rate) {
      this.rate = rate;
      if (this.video) this.video.playbackRate = rate;
    }

    /** Let go of the video: what a sample loaded is freed before the next one is shown. */
    close() {
      this.closed = true;
      this.virtual = false;
      if (this.video) {
        this.video.pause();
        this.video.removeAttribute("src");
        this.video.load();
      }
    }
  };
})();
