package extauthz

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Alarm is a timer on the clock that leases are held against. It is for one goroutine.
type Alarm interface {
	// Set makes the alarm go off once, after d, and forgets what it was set to before.
	Set(d time.Duration) error
	// Rings has a token when the alarm has gone off.
	Rings() <-chan struct{}
	Close()
}

// alarm is a timer on the clock since boot. Go's own timers stand still while the host is suspended: what came to its end
// meanwhile would live on for as long as was left when the host went to sleep.
type alarm struct {
	file  *os.File
	rings chan struct{}
}

// NewAlarm makes an alarm on the clock since boot, as [ReadClocks] reads it.
func NewAlarm() (Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer on the clock since boot: %w", err)
	}
	a := &alarm{file: os.NewFile(uintptr(fd), "timer"), rings: make(chan struct{}, 1)}
	go a.wait()
	return a, nil
}

// wait turns what the kernel says into tokens until the alarm is closed.
func (a *alarm) wait() {
	var count [8]byte
	for {
		if _, err := a.file.Read(count[:]); err != nil {
			return
		}
		select {
		case a.rings <- struct{}{}:
		default:
		}
	}
}

// Set is part of Alarm.
func (a *alarm) Set(d time.Duration) error {
	raw, err := a.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	failed := raw.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))}, nil)
	})
	if failed != nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("set a timer: %w", err)
	}
	return nil
}

// Rings is part of Alarm.
func (a *alarm) Rings() <-chan struct{} { return a.rings }

// Close is part of Alarm.
func (a *alarm) Close() { _ = a.file.Close() } // nothing is lost
