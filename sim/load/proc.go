package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU time in /proc/PID/stat (proc(5): USER_HZ), the
// same on every Linux.
const clockTick = 10 * time.Millisecond

// Fields of /proc/PID/stat after the command name, from 0 (proc(5)).
const (
	statParent   = 1
	statUser     = 11
	statSystem   = 12
	statChildren = 13 // user time of children waited for; system is next
	statFields   = 22
)

// process is one line of /proc/PID/stat.
type process struct {
	pid, parent    int
	own, inherited time.Duration // CPU, and that of children that are gone
}

// usage is what a process and its descendants have used.
type usage struct {
	cpu time.Duration
	rss int64 // bytes, resident now
}

// measure reads a process and its descendants; nothing for pid 0.
func measure(pid int) (usage, error) {
	if pid == 0 {
		return usage{}, nil
	}
	root, err := readProcess(pid)
	if err != nil {
		return usage{}, err
	}
	all, err := processes()
	if err != nil {
		return usage{}, err
	}
	u := usage{cpu: root.own + root.inherited}
	u.rss, err = resident(pid)
	if err != nil {
		return usage{}, err
	}
	// Databases fork per connection: children that live are added, those that
	// ended are in the parent's inherited time.
	family := map[int]bool{pid: true}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if family[p.pid] || !family[p.parent] {
				continue
			}
			family[p.pid], grown = true, true
			u.cpu += p.own + p.inherited
			rss, err := resident(p.pid)
			if err == nil { // gone meanwhile otherwise
				u.rss += rss
			}
		}
	}
	return u, nil
}

// processes reads them all; those that end while we look are left out.
func processes() ([]process, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	all := make([]process, 0, len(dirs))
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		p, err := readProcess(pid)
		if err == nil {
			all = append(all, p)
		}
	}
	return all, nil
}

// readProcess reads /proc/PID/stat.
func readProcess(pid int) (process, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return parseStat(pid, string(data))
}

// parseStat reads the fields after the command, which may contain anything.
func parseStat(pid int, line string) (process, error) {
	i := strings.LastIndexByte(line, ')')
	fields := strings.Fields(line[i+1:])
	if i < 0 || len(fields) < statFields {
		return process{}, fmt.Errorf("process %d: unknown stat line", pid)
	}
	ticks := func(at int) (time.Duration, error) {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		return time.Duration(n) * clockTick, err
	}
	parent, err := strconv.Atoi(fields[statParent])
	user, err1 := ticks(statUser)
	system, err2 := ticks(statSystem)
	goneUser, err3 := ticks(statChildren)
	goneSystem, err4 := ticks(statChildren + 1)
	err = errors.Join(err, err1, err2, err3, err4)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{pid: pid, parent: parent, own: user + system, inherited: goneUser + goneSystem}, nil
}

// resident reads VmRSS in bytes.
func resident(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	fields := strings.Fields(string(data))
	const residentField = 1
	if len(fields) <= residentField {
		return 0, fmt.Errorf("process %d: unknown statm line", pid)
	}
	pages, err := strconv.ParseInt(fields[residentField], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}
