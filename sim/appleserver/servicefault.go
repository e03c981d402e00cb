package appleserver

import (
	"cmp"
	"net/http"
	"sync"
	"time"
)

// EnrollmentFault is what happens to a request instead of, or beside, its
// answer. The zero EnrollmentFault is none.
type EnrollmentFault struct {
	Path     string // of the requests it is for: "/profile"; "" for all
	Status   int    // HTTP status; 0: answer normally
	Code     string // the body, with Status
	Delay    time.Duration
	Truncate bool // sends half of the answer's JSON with status 200
}

// refusal is the answer, or nil for the normal one.
func (f EnrollmentFault) refusal() *refusal {
	if f.Status == 0 {
		return nil
	}
	return &refusal{f.Status, cmp.Or(f.Code, http.StatusText(f.Status))}
}

// enrollmentPlans are the faults to come.
type enrollmentPlans struct {
	mu        sync.Mutex
	requests  []plannedFault
	repeated  int    // list answers that repeat their cursor
	cursor    string // code of cursor errors
	cursors   int    // that many of them
	twice     int    // that many devices are listed again
	later     int    // that many on the page after theirs
	throttled int    // serial numbers
	retry     time.Duration
	failed    int // serial numbers
	surprises bool
}

// plannedFault is a fault for some requests; a negative count: until lifted.
type plannedFault struct {
	fault EnrollmentFault
	left  int
}

// Fail plans a fault for the next count requests to its path; a negative count:
// until another call for that path; 0 lifts it.
func (e *Enrollment) Fail(fault EnrollmentFault, count int) {
	p := &e.plans
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = deleteFaults(p.requests, fault.Path)
	if count != 0 {
		p.requests = append(p.requests, plannedFault{fault, count})
	}
}

// RepeatCursor makes the next n answers of /server/devices and /devices/sync
// give back the cursor they were asked with and say that more is to follow: the
// server that asks again gets the same page. A negative n: until another call.
func (e *Enrollment) RepeatCursor(n int) { e.plans.plan(&e.plans.repeated, n) }

// FailCursors answers the next n calls of /server/devices and /devices/sync with
// 400 and this code, even those without a cursor; negative: until another call.
func (e *Enrollment) FailCursors(code string, n int) {
	e.plans.mu.Lock()
	defer e.plans.mu.Unlock()
	e.plans.cursor, e.plans.cursors = code, n
}

// ListTwice lists the next n devices of pages a second time, at the end of their
// page.
func (e *Enrollment) ListTwice(n int) { e.plans.plan(&e.plans.twice, n) }

// ListLater lists the next n devices of pages a second time, at the end of the
// page after theirs and as they were: what is newer may stand before.
func (e *Enrollment) ListLater(n int) { e.plans.plan(&e.plans.later, n) }

// Throttle answers THROTTLED for the next n serial numbers that are assigned a
// profile, to be tried again after this time; 0: the answer does not say when.
func (e *Enrollment) Throttle(n int, retryAfter time.Duration) {
	e.plans.mu.Lock()
	defer e.plans.mu.Unlock()
	e.plans.throttled, e.plans.retry = n, retryAfter
}

// FailAssignments answers FAILED for the next n serial numbers that are assigned
// a profile.
func (e *Enrollment) FailAssignments(n int) { e.plans.plan(&e.plans.failed, n) }

// Surprise adds a field that nobody knows yet to every answer and every device.
func (e *Enrollment) Surprise(on bool) {
	e.plans.mu.Lock()
	defer e.plans.mu.Unlock()
	e.plans.surprises = on
}

// deleteFaults leaves out those for a path.
func deleteFaults(list []plannedFault, path string) []plannedFault {
	var out []plannedFault
	for _, p := range list {
		if p.fault.Path != path {
			out = append(out, p)
		}
	}
	return out
}

// plan sets a count.
func (p *enrollmentPlans) plan(count *int, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*count = n
}

// use takes one of a count; a negative one lasts.
func (p *enrollmentPlans) use(count *int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *count > 0 {
		*count--
		return true
	}
	return *count < 0
}

// take returns the fault for a request.
func (p *enrollmentPlans) take(path string) EnrollmentFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.requests {
		planned := &p.requests[i]
		if planned.left == 0 || planned.fault.Path != "" && planned.fault.Path != path {
			continue
		}
		if planned.left > 0 {
			planned.left--
		}
		return planned.fault
	}
	return EnrollmentFault{}
}

func (p *enrollmentPlans) surprising() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.surprises
}

// cursorError is the planned code for a list call, or "".
func (p *enrollmentPlans) cursorError() string {
	if !p.use(&p.cursors) {
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cursor
}

// retryAfter is what THROTTLED says.
func (p *enrollmentPlans) retryAfter() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retry
}
